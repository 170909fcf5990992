namespace DiffusionCore.Samplers;

/// <summary>
/// Trajectory consistency distillation, Zheng et al. 2024, algorithm 4: a step along the trajectory to s = (1 - eta)*t', then noise up to t'.
/// eta 0 is deterministic, 1 as noisy as LCM.
/// </summary>
public static class Tcd
{
    internal const string Class = "TCDScheduler";

    private const double DefaultEta = 0.3;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        double[] times = options.Timesteps ?? Lcm.Timesteps(config, options.Steps);
        double eta = options.Eta ?? DefaultEta;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            bool last = i == times.Length - 1;
            int t = Ddpm.Step(times[i], schedule), next = last ? 0 : Ddpm.Step(times[i + 1], schedule), s = (int)((float)(1 - eta) * next);
            double bar = schedule.AlphaBar[t], nextBar = schedule.AlphaBar[next], middle = schedule.AlphaBar[s];
            bool noisy = eta > 0 && !last;
            double grow = noisy ? Math.Sqrt(nextBar / middle) : 1;
            evaluations.Add(new Evaluation
            {
                Time = t, Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), D = grow * Math.Sqrt(middle), E = grow * Math.Sqrt(1 - middle), N = noisy ? Math.Sqrt(1 - nextBar / middle) : 0, DrawsNoise = noisy,
            });
        }

        return new SamplerPlan { Name = "tcd", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times };
    }
}
