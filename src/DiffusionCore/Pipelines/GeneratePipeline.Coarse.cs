using System.Diagnostics;
using DiffusionCore.Guidance;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Pipelines;

/// <content>The steps at a lower resolution that a run may begin with.</content>
public sealed partial class GeneratePipeline
{
    /// <summary>The coarse part of a request's run; null where it has none.</summary>
    private CoarseSteps? Coarse(GenerateRequest request)
    {
        if (request.Shortcuts.Coarse is not { } coarse) return null;
        if (Model.Own is not null) throw new UsageException($"coarse: {Model.Name} is sampled as its authors do, at one resolution");
        var (height, width) = Size(request);
        int multiple = Model.Denoiser.SizeMultiple * Model.Factor * coarse.Factor;
        if (height % multiple != 0 || width % multiple != 0) throw new UsageException($"coarse: expected a size in multiples of {multiple}, so that {Model.Name} can make one {coarse.Factor} times smaller, found {width}x{height}");
        if (request.Hints.Count > 0) throw new UsageException("coarse: a ControlNet's image has one size; leave --control-image or --coarse out");
        var steps = CoarseSteps.Of(Model.Scheduler, request, Sampler.Plan(Model.Scheduler, request.Options, request.Sampler, request.Schedule));
        var guidance = request.AllGuidance;
        return guidance.IsPlain ? steps : steps with { Plan = guidance.Apply(steps.Plan) };
    }

    /// <summary>Takes the coarse steps of a batch.</summary>
    private CoarseStart RunCoarse(CoarseSteps coarse, GenerateRequest request, SessionShape shape, DenoiseStart start, MemoryBudget budget, Action<GenerateProgress>? report, CancellationToken cancellation)
    {
        int factor = request.Shortcuts.Coarse!.Factor;
        var session = sessions.Get(new SessionKey(shape with { Height = shape.Height / factor, Width = shape.Width / factor }, coarse.Plan, request.Shortcuts), budget);
        session.Start(start with { Seeds = CoarseSteps.Seeds(start.Seeds, start.Noise, start.FirstImage), FirstNoise = Lowered(start, shape, factor) });
        for (int e = 0; e < coarse.Evaluations; e++)
        {
            cancellation.ThrowIfCancellationRequested();
            long began = Stopwatch.GetTimestamp();
            session.Evaluate(e);
            if (coarse.Plan.Evaluations[e].Evaluates) NetworkEvaluations += session.Images;
            report?.Invoke(new GenerateProgress(start.FirstImage, session.Images, request.Count, e + 1, coarse.Evaluations, Stopwatch.GetElapsedTime(began)));
        }

        return new CoarseStart(session.Download().ToArray(), coarse.Alpha, coarse.Sigma, factor);
    }

    // The noise that the whole run would begin with, at the coarse size.
    private float[] Lowered(DenoiseStart start, SessionShape shape, int factor)
    {
        int channels = Model.Denoiser.Channels, height = shape.Height / factor, width = shape.Width / factor, each = height * width * channels;
        var source = new LatentNoise(start.Noise, shape.Images, Math.Max(start.Total, start.FirstImage + shape.Images), shape.Height, shape.Width, channels);
        source.Start(start.Seeds, start.FirstImage);
        float[] fine = new float[shape.Images * source.Elements], coarse = new float[shape.Images * each];
        if (start.Variation is { } variation) source.DrawVaried(fine, variation);
        else source.Draw(fine);
        for (int i = 0; i < shape.Images; i++) ResolutionChange.Lower(fine.AsSpan(i * source.Elements, source.Elements), coarse.AsSpan(i * each, each), height, width, channels, factor);
        return coarse;
    }
}
