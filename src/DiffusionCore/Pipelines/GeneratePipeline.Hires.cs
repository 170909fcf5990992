using System.Runtime.InteropServices;
using DiffusionCore.Images;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

public sealed partial class GeneratePipeline
{
    /// <summary>What the pictures of a request's previews are made by; null where it asks for none.</summary>
    /// <exception cref="UsageException">The model's latents cannot be shown.</exception>
    public string? PreviewSource(GenerateRequest request)
    {
        using var preview = Previews(request);
        return preview?.Source;
    }

    /// <summary>Height and width of the second pass's images, in pixels.</summary>
    /// <exception cref="UsageException">A size that the network cannot make, or smaller than the first pass's.</exception>
    public (int Height, int Width) HiresSize(GenerateRequest request)
    {
        var (height, width) = Size(request);
        var hires = request.Hires ?? throw new UsageException("hires: the request has no second pass");
        int multiple = Model.Denoiser.SizeMultiple * Model.Factor;
        var large = Size(request with { Width = hires.Width ?? Multiple(width), Height = hires.Height ?? Multiple(height) });
        if (large.Height < height || large.Width < width) throw new UsageException($"hires: expected a size of at least the first pass's {width}x{height}, found {large.Width}x{large.Height}");
        return large;

        int Multiple(int side) => (int)(side * hires.Scale) / multiple * multiple;
    }

    /// <summary>The second pass's sampler: the last steps of a schedule that is longer by 1 / strength.</summary>
    /// <exception cref="UsageException">There is no such schedule.</exception>
    public SamplerPlan SecondPlan(GenerateRequest request)
    {
        HiresSize(request);
        var (options, hires) = (request.Options, request.Hires!);
        if ((options.Timesteps?.Length ?? options.Sigmas?.Length - 1) is { } given)
        {
            int kept = Math.Min((int)(given * hires.Strength), given);
            if (kept < 1) throw new UsageException(FormattableString.Invariant($"hires strength {hires.Strength} of {given} steps leaves none to take; use more of either"));
            return Planned(request, options with { SkipSteps = given - kept });
        }

        int taken = hires.Steps ?? options.Steps, steps = (int)Math.Min(taken / hires.Strength, int.MaxValue);
        return Planned(request, options with { Steps = Math.Max(steps, taken), SkipSteps = Math.Max(steps, taken) - taken });
    }

    private LatentPreview? Previews(GenerateRequest request) => request.Preview is { } wanted ? LatentPreview.Of(wanted, Model, device, firstStage, Budget(request)) : null;

    private SecondPass? Second(GenerateRequest request, SamplerPlan sampler, MemoryBudget budget)
    {
        if (request.Hires is not { } hires) return null;
        var (height, width) = HiresSize(request);
        var enlarged = request with
        {
            Hints = [.. request.Hints.Select(h => new SourceImage(width, height, h.Channels, ImageResize.Cover(h.Values, h.Height, h.Width, h.Channels, height, width, ResizeFilter.BilinearAntialias)))],
        };
        return new SecondPass(SecondPlan(request), new Conditioning(this, enlarged, Shape(request, sampler, 1), height, width, condition, budget, note: null), height, width, hires.Upscaler);
    }

    // The two passes are one run to whoever watches.
    private static Action<GenerateProgress>? FirstOf(SecondPass? second, Action<GenerateProgress>? report) => second is null || report is null
        ? report
        : p => report(p with { Evaluations = p.Evaluations + second.Sampler.Evaluations.Count });

    private DenoiseSession RunSecond(
        SecondPass second, DenoiseSession session, SamplerPlan sampler, GenerateRequest request, int first, ulong[] seeds, int[] labels, Action<GenerateProgress>? report, LatentPreview? preview,
        MemoryBudget budget, CancellationToken cancellation)
    {
        int images = session.Images, before = sampler.Evaluations.Count;
        var enlarged = new float[images * (second.Height / Model.Factor) * (second.Width / Model.Factor) * session.Channels];
        var latents = session.Download();
        for (int i = 0; i < images; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            float[] one = latents.Slice(i * session.Elements, session.Elements).ToArray();
            Enlarged(one, session, second, request, budget, cancellation).CopyTo(enlarged.AsSpan(i * (enlarged.Length / images)));
        }

        var next = sessions.Get(new SessionKey(second.Conditions.Shape(images), second.Sampler, request.Shortcuts), budget);
        next.Start(new DenoiseStart
        {
            Seeds = seeds, FirstImage = first, Total = request.Count, Noise = request.Noise, Variation = request.Variation, Guidance = request.Guidance,
            Conditioning = second.Conditions.For(labels, first), Latents = enlarged,
        });
        Action<GenerateProgress>? rest = report is null ? null : p => report(p with { Evaluation = p.Evaluation + before, Evaluations = p.Evaluations + before });
        Run(next, second.Sampler, request, first, rest, preview, cancellation);
        return next;
    }

    private float[] Enlarged(float[] latent, DenoiseSession session, SecondPass second, GenerateRequest request, MemoryBudget budget, CancellationToken cancellation)
    {
        for (int i = 0; i < latent.Length; i++)
            if (!float.IsFinite(latent[i])) throw new NonFiniteException("latent of the first pass", i);
        var (height, width, factor) = (second.Height, second.Width, Model.Factor);
        if (!second.Upscaler.OnImage || firstStage is null) return ImageResize.Cover(latent, session.Height, session.Width, session.Channels, height / factor, width / factor, second.Upscaler.Filter);
        float[] image = firstStage.Decode(latent, session.Height, session.Width, budget, request.Tiled, Note, cancellation);
        for (int i = 0; i < image.Length; i++) image[i] = Math.Clamp(image[i], -1, 1);
        return Latent(ImageResize.Cover(image, session.Height * factor, session.Width * factor, Model.ImageChannels, height, width, second.Upscaler.Filter), height, width, budget);
    }

    /// <summary>A second pass, planned for a whole request.</summary>
    private sealed record SecondPass(SamplerPlan Sampler, Conditioning Conditions, int Height, int Width, HiresUpscaler Upscaler);
}
