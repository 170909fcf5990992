using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Shortcuts;

/// <summary>Latents that a run at a lower resolution came to, for a run that goes on from there.</summary>
/// <param name="Latents">[image][row][column][channel], each side Factor times shorter.</param>
/// <param name="Alpha">Of the noise in them.</param>
/// <param name="Sigma">Of the noise in them.</param>
public sealed record CoarseStart(float[] Latents, double Alpha, double Sigma, int Factor);

/// <summary>The coarse part of a run: its steps, at the training steps whose noise is as hard at that size, and where they end.</summary>
internal sealed record CoarseSteps(SamplerPlan Plan, int Evaluations, double Alpha, double Sigma)
{
    // Of what samplers draw in the coarse part: an image's seed must not give both parts the same numbers.
    private const ulong Stream = 0x9E3779B97F4A7C15;

    /// <param name="whole">The run at full size, all steps.</param>
    /// <exception cref="UsageException">No step is left at full size, or the sampler's steps cannot be matched.</exception>
    public static CoarseSteps Of(SchedulerConfig config, GenerateRequest request, SamplerPlan whole)
    {
        var coarse = request.Shortcuts.Coarse!;
        if (request.Init is not null) throw new UsageException("coarse: a run that begins with an image has its size; leave --init or --coarse out");
        if (whole.Prediction == Prediction.Flow || whole.Sigmas is { } s && s[^2] <= 0) throw new UsageException($"coarse: sampler {whole.Name} has no training steps to match");
        if (coarse.Steps >= whole.Steps) throw new UsageException($"coarse: {coarse.Steps} of {whole.Steps} steps leave none at full size");
        var levels = ModelLevels.Of(config);
        var times = new List<double>();
        for (int i = 0; i <= coarse.Steps; i++)
        {
            var e = First(whole, i);
            double level = ResolutionChange.MatchedLevel(e.Sigma / e.Alpha, coarse.Factor);
            // The last one, where the sizes change, must not be above: noise can be added, not taken away.
            double t = i < coarse.Steps ? levels.NearestStep(level) : Array.FindLastIndex(levels.Sigmas, v => v <= level);
            if (t < 0 || (times.Count > 0 && t >= times[^1])) throw new UsageException($"coarse: step {i} of {coarse.Steps} has no training step of its own at {coarse.Factor} times less noise; use fewer coarse steps");
            times.Add(t);
        }

        var plan = Sampler.Plan(config, request.Options with { Timesteps = [.. times], Sigmas = null, Steps = times.Count }, request.Sampler);
        var end = First(plan, coarse.Steps);
        return new(plan, plan.Evaluations.ToList().IndexOf(end), end.Alpha, end.Sigma);
    }

    /// <summary>Seeds of another stream. Where one generator serves all images they follow each other, as the images' own do.</summary>
    public static ulong[] Seeds(ulong[] seeds, NoiseSettings noise, int firstImage)
    {
        if (noise.Seeds != SeedMode.Batch) return Array.ConvertAll(seeds, Other);
        ulong common = Other(unchecked(seeds[0] - (ulong)firstImage));
        return [.. seeds.Select((_, i) => unchecked(common + (ulong)(firstImage + i)))];

        static ulong Other(ulong seed) => unchecked((seed + 1) * Stream) >> 32;
    }

    private static Evaluation First(SamplerPlan plan, int step) => plan.Evaluations.First(e => e.Step == step && e.Evaluates);
}
