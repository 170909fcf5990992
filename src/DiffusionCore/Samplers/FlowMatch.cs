using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// Samplers of rectified flow, x = (1 - s)*x0 + s*eps and v = eps - x0 (Liu et al. 2023; Esser et al. 2024): Euler, Heun, and drawing the noise anew at
/// each step, as flow models distilled to few steps want.
/// </summary>
public static class FlowMatch
{
    internal const string EulerClass = "FlowMatchEulerDiscreteScheduler";

    internal const string HeunClass = "FlowMatchHeunDiscreteScheduler";

    internal const string LcmClass = "FlowMatchLCMScheduler";

    private const int SavedSample = 0;

    public static SamplerPlan Euler(SchedulerConfig config, SamplerOptions options) => Plan(config, options, config.StochasticSampling, "flow-euler");

    public static SamplerPlan Lcm(SchedulerConfig config, SamplerOptions options) => Plan(config, options, anew: true, "flow-lcm");

    private static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options, bool anew, string name)
    {
        double[] sigmas = Levels(config, options), times = [.. sigmas[..^1].Select(s => s * config.TrainSteps)];
        // Given times are what a distilled network is told; the others are told their shifted levels.
        if (name == "flow-lcm" && options.Timesteps is { } given) times = given;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            double next = sigmas[i + 1], step = next - sigmas[i];
            var e = At(times[i], i, sigmas[i]);
            evaluations.Add(anew ? e with { D = 1 - next, N = next, DrawsNoise = true } : e with { X = 1, D = -step, E = step });
        }

        return Plan(name, evaluations, sigmas, times, times.Length);
    }

    public static SamplerPlan Heun(SchedulerConfig config, SamplerOptions options)
    {
        if (config.InvertSigmas || config.DynamicShift) throw config.Problem(config.InvertSigmas ? "invert_sigmas" : "use_dynamic_shifting", "flow-heun has none; use flow-euler");
        double[] sigmas = Levels(config with { SigmaSchedule = "", ShiftTerminal = null }, options), times = [.. sigmas[..^1].Select(s => s * config.TrainSteps)];
        int n = times.Length;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            double sigma = sigmas[i], next = sigmas[i + 1];
            double step = next - sigma;
            var euler = At(times[i], i, sigma) with { X = 1, D = -step, E = step };
            if (next == 0)
            {
                evaluations.Add(euler);
                break;
            }

            evaluations.Add(euler with { Keep = Kept.Sample, KeepSlot = SavedSample });
            // x' = saved + step/2*(v1 + v2) with v1 = (x - saved)/step.
            evaluations.Add(At(next * config.TrainSteps, i, next) with { X = 0.5, D = -step / 2, E = step / 2, History = [new(SavedSample, 0.5)] });
        }

        return Plan("flow-heun", evaluations, Repeat(sigmas), [times[0], .. times[1..].SelectMany(t => new[] { t, t })], n) with { Slots = 1 };
    }

    private static SamplerPlan Plan(string name, List<Evaluation> evaluations, double[] sigmas, double[] times, int steps) =>
        new() { Name = name, Prediction = Prediction.Flow, Evaluations = evaluations, Steps = steps, Timesteps = times, Sigmas = sigmas };

    private static Evaluation At(double time, int step, double level) => new() { Time = time, Step = step, Alpha = 1 - level, Sigma = level };

    // The published levels lie between those of the shifted training steps and are shifted once more.
    private static double[] Levels(SchedulerConfig config, SamplerOptions options)
    {
        int train = config.TrainSteps;
        double low = config.DynamicShift ? 1.0 / train : FlowLevels.Static(config.Shift, 1.0 / train);
        double[] levels = options.Sigmas is { } given ? [.. given[..^1]]
            : options.Timesteps is { } times ? Array.ConvertAll(times, t => t / train)
            : NoiseSchedule.Linspace(1, low, options.Steps);
        levels = FlowLevels.Shifted(config, options, levels);
        if (config.SigmaSchedule.Length > 0) levels = SigmaSchedule.Build(config.SigmaSchedule, config.SigmaMin ?? levels[^1], config.SigmaMax ?? levels[0], levels.Length);
        return config.InvertSigmas ? [.. levels.Select(s => 1 - s), 1] : [.. levels, options.Sigmas?[^1] ?? 0];
    }

    private static double[] Repeat(double[] v) => [v[0], .. v[1..^1].SelectMany(x => new[] { x, x }), v[^1]];
}
