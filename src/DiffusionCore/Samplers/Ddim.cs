namespace DiffusionCore.Samplers;

/// <summary>DDIM, Song et al. 2021, eq. 12: deterministic at eta = 0, the ancestral sampler at eta = 1.</summary>
public static class Ddim
{
    internal const string Class = "DDIMScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        double[] times = options.Timesteps ?? NoiseSchedule.SpacedTimesteps(config.Spacing!, config.TrainSteps, options.Steps, config.StepsOffset, options.Steps);
        int stride = config.TrainSteps / options.Steps;
        double final = config.SetAlphaToOne != false ? 1 : schedule.AlphaBar[0];
        double eta = options.Eta ?? 0;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            int t = Ddpm.Step(times[i], schedule);
            int previous = options.Timesteps is null ? t - stride : i + 1 < times.Length ? (int)times[i + 1] : -1;
            double bar = schedule.AlphaBar[t], next = previous >= 0 ? schedule.AlphaBar[previous] : final;
            double deviation = eta * Math.Sqrt(Math.Max(0, (1 - next) / (1 - bar) * (1 - bar / next)));
            evaluations.Add(new Evaluation
            {
                Time = t, Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), D = Math.Sqrt(next), E = Math.Sqrt(Math.Max(0, 1 - next - deviation * deviation)), N = deviation, DrawsNoise = eta > 0,
            });
        }

        return new SamplerPlan
        {
            Name = "ddim", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times,
            Clip = config.ClipSample == true && !config.Thresholding ? config.ClipRange : double.PositiveInfinity,
            ClipRederivesEpsilon = options.UseClippedModelOutput,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum,
        };
    }
}
