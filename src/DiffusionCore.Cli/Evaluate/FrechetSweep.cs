using System.Diagnostics;
using DiffusionCore.Metrics;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Cli;

/// <summary>Measures cells: makes the images, looks at them, and compares their features with those of real images.</summary>
internal sealed class FrechetSweep(ModelFolder model, GeneratePipeline pipeline, ImageJudge judge, FeatureStatistics reference)
{
    public const int Batch = 16;

    public required double Guidance { get; init; }

    public required ulong Seed { get; init; }

    public string? Schedule { get; init; }

    /// <summary>The largest number of steps whose evaluations stay within a budget; null where even the fewest go over it.</summary>
    /// <exception cref="UsageException">The sampler chooses its steps as it goes, or is not known.</exception>
    public (int Steps, int Evaluations)? Within(string sampler, int budget)
    {
        for (int steps = budget; steps >= 1; steps--)
        {
            SamplerPlan plan;
            try
            {
                plan = pipeline.Plan(Request(sampler, steps, Batch));
            }
            catch (UsageException) when (steps < budget)
            {
                return null;            // not so few steps; what is wrong with the name or the schedule shows at the first try
            }

            if (plan.Adaptive is not null) throw new UsageException($"sampler '{sampler}' chooses its steps as it goes and takes no number of evaluations");
            int evaluations = plan.Evaluations.Count(e => e.Evaluates);
            if (evaluations > 0 && evaluations <= budget) return (steps, evaluations);
        }

        return null;
    }

    public FrechetCell Measure(string sampler, int asked, (int Steps, int Evaluations) taken, int count, Action<GenerateProgress>? report, CancellationToken cancellation)
    {
        var request = Request(sampler, taken.Steps, count);
        var pixels = new List<byte[]>(count);
        var classes = new List<int>(count);
        double fastest = double.PositiveInfinity;
        long start = Stopwatch.GetTimestamp();
        pipeline.Generate(
            request,
            image =>
            {
                pixels.Add(image.Pixels);
                classes.Add(image.Class ?? -1);
                if (pixels.Count % Batch != 0) return;
                // Another program's load slows batches down and never speeds one up.
                fastest = Math.Min(fastest, Stopwatch.GetElapsedTime(start).TotalSeconds / Batch);
                start = Stopwatch.GetTimestamp();
            },
            report, cancellation);
        var features = new FeatureAccumulator(judge.Features);
        int agreed = 0;
        judge.Look(
            pixels,
            (index, vector, likeliest) =>
            {
                features.Add(vector);
                if (likeliest == classes[index]) agreed++;
            },
            cancellation);
        return new(sampler, asked, taken.Evaluations, count, FrechetDistance.Between(reference, features.Finish()), fastest, (double)agreed / count);
    }

    private GenerateRequest Request(string sampler, int steps, int count) => new()
    {
        Count = count, Batch = Batch, Seed = Seed, Sampler = sampler, Schedule = Schedule, Guidance = Guidance,
        Classes = model.Classes is { } names ? [.. Enumerable.Range(0, names.Names.Count)] : [], Options = new SamplerOptions { Steps = steps },
    };
}
