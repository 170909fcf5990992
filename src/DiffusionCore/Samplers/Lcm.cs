namespace DiffusionCore.Samplers;

/// <summary>Latent consistency models, Luo et al. 2023, algorithm 3: denoise with the boundary condition c_skip, c_out, then draw noise down to the next level.</summary>
public static class Lcm
{
    internal const string Class = "LCMScheduler";

    // Standard deviation of the data in the boundary condition.
    private const double SigmaData = 0.5;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        double[] times = options.Timesteps ?? Timesteps(config, options.Steps);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            bool last = i == times.Length - 1;
            int t = Ddpm.Step(times[i], schedule);
            double bar = schedule.AlphaBar[t], next = last ? 1 : schedule.AlphaBar[Ddpm.Step(times[i + 1], schedule)], root = Math.Sqrt(next);
            double scaled = t * config.TimestepScaling, length = scaled * scaled + SigmaData * SigmaData;
            evaluations.Add(new Evaluation
            {
                Time = t, Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), X = root * SigmaData * SigmaData / length, D = root * scaled / Math.Sqrt(length), N = last ? 0 : Math.Sqrt(1 - next),
            });
        }

        return new SamplerPlan
        {
            Name = "lcm", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times,
            Clip = config.ClipSample == true && !config.Thresholding ? config.ClipRange : double.PositiveInfinity,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum,
        };
    }

    /// <summary>Evenly out of the steps of the distillation, noisiest first.</summary>
    internal static double[] Timesteps(SchedulerConfig config, int steps)
    {
        int original = Math.Min(config.OriginalSteps, config.TrainSteps), stride = config.TrainSteps / original;
        if (steps > original) throw new Runtime.UsageException($"steps: expected 1 to {original}, the steps that this model was distilled with, found {steps}");
        return [.. Enumerable.Range(0, steps).Select(i => (double)((original - (int)((double)i * original / steps)) * stride - 1))];
    }
}
