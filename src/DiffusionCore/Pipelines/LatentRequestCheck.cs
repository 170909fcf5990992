using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>What a request may ask of a model by the authors' names: layouts, small images, tokens, levels that are given.</summary>
internal static class LatentRequestCheck
{
    /// <exception cref="UsageException">Something that the model does not take, or that does not fit it.</exception>
    public static void Run(ModelFolder model, GenerateRequest request)
    {
        var kind = model.ConditionKind;
        bool takesLayout = kind is ConditionKind.Layout or ConditionKind.Points or ConditionKind.Labels;
        if (request.Layout is not null && !takesLayout) throw new UsageException($"layout: {model.Name} takes no layout");
        if (takesLayout && request.Layout is null && request.Tokens.Count == 0) throw new UsageException($"{model.Name} is made from a layout: give --layout FILE");
        if (request.Layout is { } layout) _ = model.Condition!.Layout!.Encode(layout);
        if (request.LowResolution is not null && kind != ConditionKind.LowResolution) throw new UsageException($"low-resolution image: {model.Name} takes none");
        if (kind == ConditionKind.LowResolution) LowResolution(model, request);
        if (kind == ConditionKind.MaskedImage && (request.Init is null || request.Mask is null)) throw new UsageException($"{model.Name} paints into an image: give --init and --mask");
        Tokens(model, request.Tokens);
        Tokens(model, request.NegativeTokens);
        if (kind == ConditionKind.Tokens && request.Tokens.Count == 0) throw new UsageException($"{model.Name} is told numbers of tokens, which its configuration does not say how to make");
        if (model.Stages.Count > 1 && (request.Hires is not null || request.Shortcuts.Coarse is not null)) throw new UsageException($"hires: {model.Name} is made coarse to fine by itself; leave --hires and coarse first steps out");
        if (model.Stages.Count > 1 && request.Preview is not null) throw new UsageException($"preview: {model.Name} is made stage by stage, and a stage alone is no image; leave --preview out");
        if (request.CoarseLatents.Count == 0) return;
        if (model.Stages.Count == 1) throw new UsageException($"coarse latents: {model.Name} has one stage");
        if (request.Init is not null) throw new UsageException("coarse latents: an image to start from has its own; give one of the two");
    }

    private static void LowResolution(ModelFolder model, GenerateRequest request)
    {
        int multiple = model.Denoiser.SizeMultiple;
        if (request.LowResolution is not { } image) throw new UsageException($"{model.Name} enlarges an image: give --low-res IMAGE");
        if (image.Channels != model.ImageChannels || image.Values.Length != (long)image.Width * image.Height * image.Channels) throw new UsageException($"low-resolution image: expected {model.ImageChannels} channels, found {image.Channels}");
        if (image.Width % multiple != 0 || image.Height % multiple != 0) throw new UsageException($"low-resolution image: expected width and height in multiples of {multiple}, found {image.Width}x{image.Height}; resize it");
        int width = request.Width ?? request.Init?.Width ?? image.Width * model.Factor, height = request.Height ?? request.Init?.Height ?? image.Height * model.Factor;
        if (image.Width * model.Factor != width || image.Height * model.Factor != height)
            throw new UsageException($"low-resolution image: expected {width / model.Factor}x{height / model.Factor}, 1/{model.Factor} of the image that is made, found {image.Width}x{image.Height}");
    }

    private static void Tokens(ModelFolder model, IReadOnlyList<int[]> all)
    {
        if (all.Count == 0) return;
        if (model.Condition is not { Kind: not ConditionKind.Class } stage) throw new UsageException($"tokens: {model.Name} takes none");
        foreach (int[] tokens in all)
        {
            if (tokens.Length != stage.Length) throw new UsageException($"tokens: expected {stage.Length}, found {tokens.Length}");
            foreach (int t in tokens)
                if (t < 0 || t >= stage.Vocabulary) throw new UsageException($"tokens: expected numbers below {stage.Vocabulary}, found {t}");
        }
    }
}
