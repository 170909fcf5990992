using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>
/// DPM-Solver-2 in the form of Karras et al. 2022 (appendix, algorithm 2 there with the midpoint rule): an Euler step to the geometric mean of two
/// levels, then the whole step with the slope found there. The ancestral form does so to a level below the next and adds noise.
/// </summary>
public static class Kdpm2
{
    internal const string Class = "KDPM2DiscreteScheduler";

    internal const string AncestralClass = "KDPM2AncestralDiscreteScheduler";

    private const int SavedSample = 0;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options) => Plan(config.For(Class), options, ancestral: false);

    public static SamplerPlan Ancestral(SchedulerConfig config, SamplerOptions options) => Plan(config.For(AncestralClass), options, ancestral: true);

    private static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options, bool ancestral)
    {
        var grid = SigmaGrid.Build(config with { FinalSigmaZero = true, LogLinearInterpolation = false, ContinuousTimesteps = false }, options, roundsKarras: true);
        float[] logs = Array.ConvertAll(NoiseSchedule.Build(config, finiteSigmas: true).Sigmas(), s => (float)DoubleMath.Log(s));
        int n = grid.Times.Length;
        var evaluations = new List<Evaluation>();
        double[] times = new double[2 * n - 1], sigmas = [grid.Sigmas[0], .. grid.Sigmas[1..].SelectMany(s => new[] { s, s }), grid.Sigmas[^1]];
        for (int i = 0; i < n; i++)
        {
            double sigma = grid.Sigmas[i], next = grid.Sigmas[i + 1];
            times[2 * i] = grid.Times[i];
            if (next == 0)
            {
                if (i >= options.SkipSteps) evaluations.Add(Euler(grid.Times[i], i, sigma, 0));
                break;
            }

            var (down, up) = ancestral ? EulerAncestral.Split(sigma, next) : (next, 0);
            double between = Between(sigma, down), time = TimeOf(between, logs), slope = (down - sigma) / between;
            if (2 * i + 1 < times.Length) times[2 * i + 1] = time;
            if (i < options.SkipSteps) continue;
            evaluations.Add(Euler(grid.Times[i], i, sigma, between) with { Keep = Kept.Sample, KeepSlot = SavedSample });
            // x' = saved + (down - sigma)*d with d = (x - denoised)/between.
            evaluations.Add(new Evaluation
            {
                Time = time, Step = i, InputScale = SigmaGrid.InputScale(between), Alpha = 1, Sigma = between, X = slope, D = -slope, N = up, DrawsNoise = ancestral, History = [new(SavedSample, 1)],
            });
        }

        return new SamplerPlan
        {
            Name = ancestral ? "kdpm2_ancestral" : "kdpm2", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = 1, Timesteps = times, Sigmas = sigmas, InitialSigma = grid.InitialSigma(config),
        };
    }

    // The geometric mean, in float as published.
    private static double Between(double a, double b)
    {
        float first = (float)DoubleMath.Log(a), last = (float)DoubleMath.Log(b);
        return (float)DoubleMath.Exp(last - (last - first) * 0.5f);
    }

    // In float throughout, as published: between the first two training steps the difference of two logarithms shows it.
    private static double TimeOf(double sigma, float[] logs)
    {
        if (logs.Length == 1) return 0;                  // a training of one step has one time
        float log = (float)DoubleMath.Log(sigma);
        int low = Math.Clamp(Array.FindLastIndex(logs, l => log >= l), 0, logs.Length - 2);
        float weight = Math.Clamp((logs[low] - log) / (logs[low] - logs[low + 1]), 0, 1);
        return (1 - weight) * (double)low + weight * (double)(low + 1);
    }

    private static Evaluation Euler(double time, int step, double sigma, double to) =>
        new() { Time = time, Step = step, InputScale = SigmaGrid.InputScale(sigma), Alpha = 1, Sigma = sigma, X = to / sigma, D = 1 - to / sigma };
}
