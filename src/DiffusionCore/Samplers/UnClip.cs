using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>The sampler of unCLIP, Ramesh et al. 2022: DDPM's posterior with its variance fixed small or learned between the two bounds.</summary>
public static class UnClip
{
    internal const string Class = "UnCLIPScheduler";

    private const double SmallestVariance = 1e-20;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        double[] times = options.Timesteps ?? (options.Steps == 1 ? [config.TrainSteps - 1] : [.. Enumerable.Range(0, options.Steps).Reverse().Select(i => Math.Round(i * ((config.TrainSteps - 1.0) / (options.Steps - 1))))]);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            int t = Ddpm.Step(times[i], schedule), previous = options.SingleTrainingSteps ? t - 1 : i + 1 < times.Length ? (int)times[i + 1] : -1;
            double bar = schedule.AlphaBar[t], next = previous >= 0 ? schedule.AlphaBar[previous] : 1, beta = previous == t - 1 ? schedule.Beta[t] : 1 - bar / next;
            double variance = Math.Max((1 - next) / (1 - bar) * beta, SmallestVariance);
            bool learned = config.VarianceType == "learned_range";
            evaluations.Add(new Evaluation
            {
                Time = t, Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), D = Math.Sqrt(next) * beta / (1 - bar), X = Math.Sqrt(1 - beta) * (1 - next) / (1 - bar),
                N = t == 0 ? 0 : learned ? 1 : Math.Sqrt(variance), LearnedVariance = learned && t > 0 ? (DoubleMath.Log(variance), DoubleMath.Log(beta)) : null,
            });
        }

        return new SamplerPlan
        {
            Name = "unclip", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times, Clip = config.ClipSample == true ? config.ClipRange : double.PositiveInfinity,
        };
    }
}
