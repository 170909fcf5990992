using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// Ancestral sampling of DDPM, Ho et al. 2020, algorithm 2, on any subset of the training steps (Nichol and Dhariwal 2021).
/// The variance is fixed_small (the posterior's), fixed_large (beta), or learned: between the two (learned_range), or its logarithm itself (learned).
/// </summary>
public static class Ddpm
{
    internal const string Class = "DDPMScheduler";

    private const double SmallestVariance = 1e-20;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        if (config.VarianceType == "fixed_large_log") throw config.Problem("variance_type", "fixed_large_log is undefined (the square root of a logarithm); use fixed_large");
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        double[] times = options.Timesteps ?? NoiseSchedule.SpacedTimesteps(config.Spacing!, config.TrainSteps, options.Steps, config.StepsOffset, options.Steps);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            int t = Step(times[i], schedule), previous = i + 1 < times.Length ? (int)times[i + 1] : -1;
            evaluations.Add(At(schedule.AlphaBar[t], previous >= 0 ? schedule.AlphaBar[previous] : 1, t, config.VarianceType) with { Time = t, Step = i });
        }

        return new SamplerPlan
        {
            Name = "ddpm", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times,
            Clip = config.ClipSample == true && !config.Thresholding ? config.ClipRange : double.PositiveInfinity,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum,
        };
    }

    /// <summary>The update from alpha-bar to the previous, less noisy one.</summary>
    internal static Evaluation At(double bar, double previousBar, int t, string varianceType)
    {
        // Rounded as in the training codes: beta at the quiet end comes out to three digits only, and a run of a thousand steps shows it.
        double alpha = (float)(bar / previousBar), beta = 1 - alpha;
        double small = Math.Max((1 - previousBar) / (1 - bar) * beta, SmallestVariance);
        double noise = t == 0 ? 0 : varianceType switch
        {
            "fixed_large" => Math.Sqrt(beta),
            "learned" or "learned_range" => 1,
            _ => Math.Sqrt(small),
        };
        return new Evaluation
        {
            Time = t, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), D = Math.Sqrt(previousBar) * beta / (1 - bar), X = Math.Sqrt(alpha) * (1 - previousBar) / (1 - bar), N = noise,
            LearnedVariance = noise == 0 ? null : varianceType switch
            {
                "learned_range" => (DoubleMath.Log(small), DoubleMath.Log(beta)),
                "learned" => (-1, 1),                              // the output is the log of the variance
                _ => null,
            },
        };
    }

    internal static int Step(double time, NoiseSchedule schedule)
    {
        int t = (int)time;
        return t == time && t < schedule.Steps ? t : throw new UsageException(FormattableString.Invariant($"timestep {time} is not one of the {schedule.Steps} training steps; a smaller steps_offset or fewer steps are needed"));
    }
}
