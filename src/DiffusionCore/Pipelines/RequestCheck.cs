using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <summary>What a request may ask of a model.</summary>
internal static class RequestCheck
{
    /// <exception cref="UsageException">A number out of range, or something that the model does not take.</exception>
    /// <exception cref="ModelFileException">The model's results are no images.</exception>
    public static void Run(ModelFolder model, GenerateRequest request)
    {
        if (request.Count is < 1 or > GenerateRequest.MaximumCount) throw new UsageException($"count: expected 1 to {GenerateRequest.MaximumCount}, found {request.Count}");
        if (request.Batch < 0) throw new UsageException($"batch: expected 0 or more, found {request.Batch}");
        if (!double.IsFinite(request.Guidance)) throw new UsageException($"guidance: expected a finite number, found {request.Guidance}");
        if (request.Variation is { Strength: not (>= 0 and <= 1) } v) throw new UsageException(FormattableString.Invariant($"variation strength: expected 0 to 1, found {v.Strength}"));
        if (request.Variation is not null && request.Noise.Seeds == SeedMode.Batch) throw new UsageException("variations need a seed of their own for each image: use seed mode per-image");
        if (model.ImageChannels is not (1 or 3 or 4)) throw new ModelFileException(model.Path, "in_channels", $"{model.ImageChannels} channels are not an image; expected 1, 3 or 4");
        Classes(model, request);
        ClassifierCheck.Run(model, request);
        Text(model, request);
        Images(model, request);
        SecondPass(request);
        LatentRequestCheck.Run(model, request);
        if (request.Tiled && model.FirstStage is null) throw new UsageException($"tiles: {model.Name} works on pixels, so there is nothing to decode in tiles");
        if (request.Preview is { Every: < 1 } p) throw new UsageException($"preview: expected every step or every few, 1 or more, found {p.Every}");
    }

    /// <summary>What a request may ask of its sampler.</summary>
    /// <exception cref="UsageException">They do not go together.</exception>
    public static void Sampler(ModelFolder model, GenerateRequest request, SamplerPlan plan)
    {
        if (plan.Adaptive is not null && request.Mask is not null && model.Text is not { Inpaints: true })
            throw new UsageException($"sampler {plan.Name} chooses its steps as it goes; a mask needs a fixed schedule");
    }

    private static void SecondPass(GenerateRequest request)
    {
        if (request.Hires is not { } hires) return;
        if (request.Init is not null || request.Mask is not null) throw new UsageException("hires: the second pass starts from the first one's image, so there is no place for --init and --mask; for an image to start from use --init with --size and --strength");
        if (request.Shortcuts.Coarse is not null) throw new UsageException("hires: coarse first steps are a second pass of their own; use one of them");
        if (!(hires.Strength is > 0 and <= 1)) throw new UsageException(FormattableString.Invariant($"hires strength: expected more than 0 and at most 1, found {hires.Strength}"));
        if (hires.Steps is < 1) throw new UsageException($"hires steps: expected 1 or more, found {hires.Steps}");
        if (hires.Width is null != hires.Height is null) throw new UsageException("hires: expected a width and a height, or a factor");
        if (!(hires.Scale is >= 1 and <= 64)) throw new UsageException(FormattableString.Invariant($"hires: expected a factor from 1 to 64, found {hires.Scale}"));
        if (hires.Steps is not null && (request.Options.Sigmas is not null || request.Options.Timesteps is not null)) throw new UsageException("hires steps: a list of noise levels or timesteps is the schedule of both passes; leave the number of steps out");
    }

    private static void Classes(ModelFolder model, GenerateRequest request)
    {
        if (request.Classes.Count > 0 && model.Classes is null) throw new UsageException($"class: {model.Name} is not conditioned on classes");
        if (request.Classes.Count == 0 && model.Classes is { NullClass: null }) throw new UsageException($"class: {model.Name} was trained without a null class; give --class, one of {string.Join(", ", model.Classes.Names)}");
        if (request.Classes.Count > 0 && request.AllGuidance.AnyScale(w => w != 1) && model.Classes!.NullClass is null) throw new UsageException($"guidance: {model.Name} was trained without a null class, so there is nothing to guide away from; use --guidance 1");
    }

    private static void Text(ModelFolder model, GenerateRequest request)
    {
        if (!model.TakesText && request.Prompt.Length > 0) throw new UsageException($"prompt: {model.Name} takes no text{(model.Classes is null ? "" : "; it takes --class")}");
        Characters(request.Prompt, "prompt");
        Characters(request.Negative, "negative prompt");
        if (request.ClipSkip is { } skip)
        {
            if (model.TextEncoders.Count == 0) throw new UsageException($"clip skip: {model.Name} has no CLIP text encoder");
            int layers = model.TextEncoders.Min(e => e.Network.Config.Layers);
            if (skip < 1 || skip > layers) throw new UsageException($"clip skip: expected 1 (the last layer) to {layers}, the layers of the text encoder, found {skip}");
        }

        if (!model.TakesText && request.Negative is not null) throw new UsageException($"negative prompt: {model.Name} takes no text");
        if (request.Hints.Count != model.Controls) throw new UsageException($"control image: {model.Name} was loaded with {model.Controls} ControlNet{(model.Controls == 1 ? "" : "s")}, found {request.Hints.Count} image{(request.Hints.Count == 1 ? "" : "s")}");
        if (!double.IsFinite(request.ControlScale)) throw new UsageException($"control scale: expected a finite number, found {request.ControlScale}");
    }

    // Half of a surrogate pair is no character: no byte sequence stands for it.
    private static void Characters(string? text, string what)
    {
        for (int i = 0; i < text?.Length; i++)
        {
            if (!char.IsSurrogate(text[i])) continue;
            if (i + 1 == text.Length || !char.IsSurrogatePair(text[i], text[i + 1])) throw new UsageException($"{what}: character {i + 1} is half of a surrogate pair (U+{(int)text[i]:X4}); expected valid Unicode");
            i++;
        }
    }

    private static void Images(ModelFolder model, GenerateRequest request)
    {
        if (!(request.Strength is > 0 and <= 1)) throw new UsageException(FormattableString.Invariant($"strength: expected more than 0 and at most 1, found {request.Strength}"));
        if (request.Mask is not null && request.Init is null) throw new UsageException("mask: there is no image to keep the rest of; give --init");
        if (model.Text is { Inpaints: true } && (request.Init is null || request.Mask is null)) throw new UsageException($"{model.Name} paints into an image: give --init and --mask");
        Fits(request.Init, "init image", model.ImageChannels);
        Fits(request.Mask, "mask", 1);
        foreach (var hint in request.Hints) Fits(hint, "control image", null);

        void Fits(SourceImage? image, string what, int? channels)
        {
            if (image is null) return;
            if (image.Values.Length != (long)image.Width * image.Height * image.Channels) throw new UsageException($"{what}: expected {(long)image.Width * image.Height * image.Channels} numbers for {image.Width}x{image.Height}x{image.Channels}, found {image.Values.Length}");
            if (channels is { } c && image.Channels != c) throw new UsageException($"{what}: expected {c} channel{(c == 1 ? "" : "s")}, found {image.Channels}");
            int width = request.Width ?? request.Init?.Width ?? image.Width, height = request.Height ?? request.Init?.Height ?? image.Height;
            if (image.Width != width || image.Height != height) throw new UsageException($"{what}: expected {width}x{height}, the size of the image that is made, found {image.Width}x{image.Height}; resize one of them");
        }
    }
}
