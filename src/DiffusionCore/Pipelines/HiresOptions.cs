using DiffusionCore.Images;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>How the result of the first pass becomes the start of the second.</summary>
/// <param name="Name">As given on a command line.</param>
/// <param name="OnImage">Whether the image is resized: decoded, resized and encoded again; otherwise the latent.</param>
public sealed record HiresUpscaler(string Name, ResizeFilter Filter, bool OnImage)
{
    public static IReadOnlyList<HiresUpscaler> All { get; } =
    [
        new("latent", ResizeFilter.Bilinear, false),
        new("latent-antialiased", ResizeFilter.BilinearAntialias, false),
        new("latent-bicubic", ResizeFilter.Bicubic, false),
        new("latent-bicubic-antialiased", ResizeFilter.BicubicAntialias, false),
        new("latent-nearest", ResizeFilter.Nearest, false),
        new("latent-nearest-exact", ResizeFilter.NearestExact, false),
        new("image-lanczos", ResizeFilter.Lanczos, true),
        new("image-bicubic", ResizeFilter.BicubicAntialias, true),
        new("image-bilinear", ResizeFilter.BilinearAntialias, true),
        new("image-nearest", ResizeFilter.NearestExact, true),
    ];

    public static IReadOnlyList<string> Names { get; } = [.. All.Select(u => u.Name)];

    /// <exception cref="UsageException">Not one of <see cref="Names"/>.</exception>
    public static HiresUpscaler Find(string name) => All.FirstOrDefault(u => u.Name == name) ?? throw new UsageException($"hires upscaler: '{name}' is unknown{Suggestion.Hint(name, [.. Names])}");
}

/// <summary>
/// A second pass at a higher resolution (stable-diffusion-webui's hires fix): the first pass's result is enlarged, taken back by part of the
/// schedule with the same seed's noise at the new size, and denoised again.
/// </summary>
public sealed record HiresOptions
{
    public const double DefaultStrength = 0.7;

    /// <summary>Pixels of the final image; null where <see cref="Scale"/> tells it.</summary>
    public int? Width { get; init; }

    public int? Height { get; init; }

    /// <summary>Times the first pass's size, down to a size that the model makes; counts where no size is given.</summary>
    public double Scale { get; init; } = 2;

    /// <summary>How far the schedule is taken back: 1 is all of it.</summary>
    public double Strength { get; init; } = DefaultStrength;

    /// <summary>
    /// Steps that the second pass takes, as stable-diffusion-webui and ComfyUI count them: those left of a schedule of Steps / Strength. Null for
    /// as many as the first pass.
    /// </summary>
    public int? Steps { get; init; }

    public HiresUpscaler Upscaler { get; init; } = HiresUpscaler.All[0];
}
