using System.Runtime.InteropServices;
using DiffusionCore.Images;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Pipelines;

/// <summary>
/// What a network that raises the resolution is told of the small images.
/// <code>
/// small image in [-1, 1] --sqrt(abar)*x + sqrt(1 - abar)*noise--bilinear--> [H, W, C]        abar of the noise level; none at level 0
/// </code>
/// The noise is the conditioning augmentation of cascades (Ho et al. 2021): it hides what the former stage got wrong in the small image.
/// </summary>
internal static class LowResolutionInput
{
    /// <exception cref="UsageException">Images that are missing, too many or of a wrong size, or a noise level that the model does not have.</exception>
    public static void Check(ModelFolder model, GenerateRequest request, int height, int width)
    {
        if (model.Denoiser is not LowResolutionDenoiser denoiser)
        {
            if (request.SmallImages.Count > 0) throw new UsageException($"low-resolution image: {model.Name} makes images from nothing, it does not raise their resolution; leave it out, or begin with --init");
            if (request.NoiseLevel is not null) throw new UsageException($"noise level: {model.Name} reads no low-resolution image to add noise to");
            return;
        }

        if (request.Hires is not null) throw new UsageException($"second pass: {model.Name} raises the resolution of a small image itself; leave the second pass out");
        int steps = model.Scheduler.TrainSteps;
        if (request.NoiseLevel is { } level && !(level >= 0 && level < steps)) throw new UsageException($"noise level: expected a training step from 0 to {steps - 1}, found {level}");
        if (request.NoiseLevel is > 0 && !denoiser.TakesNoiseLevel) throw new UsageException($"noise level: {model.Name} is not told the level, so it expects an image without noise; use 0");
        if (request.SmallImages.Count == 0)
        {
            if (model.Previous is null) throw new UsageException($"low-resolution image: {model.Name} raises the resolution of an image; give --low-res IMAGE");
            return;
        }

        if (request.SmallImages.Count != 1 && request.SmallImages.Count != request.Count) throw new UsageException($"low-resolution image: expected one, or one for each of {request.Count} images, found {request.SmallImages.Count}");
        foreach (var image in request.SmallImages)
        {
            if (image.Channels != denoiser.Channels) throw new UsageException($"low-resolution image: expected {denoiser.Channels} channel{(denoiser.Channels == 1 ? "" : "s")}, found {image.Channels}");
            if (image.Values.Length != (long)image.Width * image.Height * image.Channels) throw new UsageException($"low-resolution image: expected {(long)image.Width * image.Height * image.Channels} numbers for {image.Width}x{image.Height}x{image.Channels}, found {image.Values.Length}");
            if (image.Width < 1 || image.Height < 1 || width % image.Width != 0 || height % image.Height != 0 || width / image.Width != height / image.Height)
                throw new UsageException($"low-resolution image: expected {width}x{height} divided by a whole number, the same for both sides, found {image.Width}x{image.Height}; resize it, or choose --size");
        }
    }

    /// <summary>Adds the inputs of a batch.</summary>
    public static void Add(Dictionary<string, byte[]> conditions, ModelFolder model, GenerateRequest request, int first, ulong[] seeds, SessionShape shape)
    {
        if (model.Denoiser is not LowResolutionDenoiser denoiser) return;
        int height = shape.Height, width = shape.Width, each = height * width * denoiser.Channels, images = seeds.Length;
        var bytes = new byte[shape.Rows * each * sizeof(float)];
        var rows = MemoryMarshal.Cast<byte, float>(bytes.AsSpan());
        int level = request.NoiseLevel ?? model.NoiseLevel;
        for (int i = 0; i < images; i++)
        {
            var image = request.SmallImages[request.SmallImages.Count == 1 ? 0 : first + i];
            float[] x = Conditioning.Signed(image.Values);
            if (level > 0) Noise(x, image, level, model.Scheduler, request, CoarseSteps.Seeds([seeds[i]], request.Noise, first + i), first + i);
            ImageResize.Run(x, image.Height, image.Width, image.Channels, height, width, ResizeFilter.Bilinear).CopyTo(rows[(i * each)..]);
        }

        for (int branch = 1; branch < shape.Branches; branch++) rows[..(images * each)].CopyTo(rows[(branch * images * each)..]);
        conditions[LowResolutionDenoiser.LowResolution] = bytes;
        if (denoiser.TakesNoiseLevel) conditions[LowResolutionDenoiser.NoiseLevel] = BitConverter.GetBytes((long)level);
    }

    private static void Noise(float[] x, SourceImage image, int level, SchedulerConfig scheduler, GenerateRequest request, ulong[] seed, int index)
    {
        var source = new LatentNoise(request.Noise, 1, request.Count, image.Height, image.Width, image.Channels);
        source.Start(seed, index);
        var noise = new float[x.Length];
        source.Draw(noise);
        double bar = NoiseSchedule.Build(scheduler, finiteSigmas: false).AlphaBar[level], alpha = Math.Sqrt(bar), sigma = Math.Sqrt(1 - bar);
        for (int i = 0; i < x.Length; i++) x[i] = (float)(alpha * x[i] + sigma * noise[i]);
    }
}
