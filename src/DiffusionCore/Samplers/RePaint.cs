using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// RePaint, Lugmayr et al. 2022, algorithm 1: DDIM or DDPM steps on the unknown part of an image while the given part is set to its own noisy version,
/// and jumps back to more noise so that both grow together. Needs the given image and its mask.
/// </summary>
public static class RePaint
{
    internal const string Class = "RePaintScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        if (config.Prediction != Prediction.Epsilon) throw config.Problem("prediction_type", "RePaint takes epsilon");
        if (options.Timesteps is not null) throw new UsageException("timesteps: RePaint places its own");
        if (options.SkipSteps > 0) throw new UsageException("skipped steps: RePaint starts from noise");
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        int stride = config.TrainSteps / options.Steps;
        double[] times = [.. Jumps(options).Select(t => (double)(t * stride))];
        var evaluations = new List<Evaluation>();
        double last = times[0] + 1;
        for (int i = 0; i < times.Length; last = times[i++])
        {
            if (times[i] > last)
            {
                // Back to more noise, one training step after the other.
                for (int t = (int)last; t < (int)last + stride; t++)
                    evaluations.Add(new Evaluation { Time = t, Step = i, Evaluates = false, Alpha = 1, Sigma = 1, X = Math.Sqrt(1 - schedule.Beta[t]), N = Math.Sqrt(schedule.Beta[t]) });
                continue;
            }

            int at = Ddpm.Step(times[i], schedule), previous = at - stride;
            double bar = schedule.AlphaBar[at], next = previous >= 0 ? schedule.AlphaBar[previous] : 1, eta = options.Eta ?? config.RePaintEta;
            double deviation = eta * Math.Sqrt(Math.Max(0, (1 - next) / (1 - bar) * (1 - bar / next)));
            evaluations.Add(new Evaluation
            {
                Time = at, Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), D = Math.Sqrt(next), E = Math.Sqrt(Math.Max(0, 1 - next - deviation * deviation)), N = at > 0 ? deviation : 0,
                Known = (Math.Sqrt(next), Math.Sqrt(1 - next)),
            });
        }

        return new SamplerPlan
        {
            Name = "repaint", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times, Clip = config.ClipSample == true ? 1 : double.PositiveInfinity,
        };
    }

    // Steps counted from the end: down one by one, and at every JumpLength-th up again, JumpSamples - 1 times.
    private static List<int> Jumps(SamplerOptions options)
    {
        var left = new Dictionary<int, int>();
        for (int j = 0; j < options.Steps - options.JumpLength; j += options.JumpLength) left[j] = options.JumpSamples - 1;
        var steps = new List<int>();
        for (int t = options.Steps; t >= 1;)
        {
            steps.Add(--t);
            if (left.GetValueOrDefault(t) == 0) continue;
            left[t]--;
            for (int k = 0; k < options.JumpLength; k++) steps.Add(++t);
        }

        return steps;
    }
}
