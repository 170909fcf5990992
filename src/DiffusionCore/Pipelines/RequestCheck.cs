using DiffusionCore.Noise;
using DiffusionCore.Runtime;

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
        Text(model, request);
        Images(model, request);
    }

    private static void Classes(ModelFolder model, GenerateRequest request)
    {
        if (request.Classes.Count > 0 && model.Classes is null) throw new UsageException($"class: {model.Name} is not conditioned on classes");
        if (request.Classes.Count == 0 && model.Classes is { NullClass: null }) throw new UsageException($"class: {model.Name} was trained without a null class; give --class, one of {string.Join(", ", model.Classes.Names)}");
        if (request.Classes.Count > 0 && request.Guidance != 1 && model.Classes!.NullClass is null) throw new UsageException($"guidance: {model.Name} was trained without a null class, so there is nothing to guide away from; use --guidance 1");
    }

    private static void Text(ModelFolder model, GenerateRequest request)
    {
        if (!model.TakesText && request.Prompt.Length > 0) throw new UsageException($"prompt: {model.Name} takes no text{(model.Classes is null ? "" : "; it takes --class")}");
        if (!model.TakesText && request.Negative is not null) throw new UsageException($"negative prompt: {model.Name} takes no text");
        if (request.Hints.Count != model.Controls) throw new UsageException($"control image: {model.Name} was loaded with {model.Controls} ControlNet{(model.Controls == 1 ? "" : "s")}, found {request.Hints.Count} image{(request.Hints.Count == 1 ? "" : "s")}");
        if (!double.IsFinite(request.ControlScale)) throw new UsageException($"control scale: expected a finite number, found {request.ControlScale}");
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
