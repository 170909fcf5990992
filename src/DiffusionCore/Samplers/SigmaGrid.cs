using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Noise levels and times of the samplers that work on x = x0 + sigma*eps.</summary>
/// <param name="Sigmas">Steps + 1 levels, falling, with the final one.</param>
/// <param name="Times">What the network is told at each step.</param>
internal sealed record SigmaGrid(double[] Sigmas, double[] Times)
{
    /// <summary>Time of the final level, for solvers that evaluate there too where it is not zero.</summary>
    public double FinalTime { get; init; }

    /// <param name="roundsKarras">Whether the times of the karras schedule are whole.</param>
    public static SigmaGrid Build(SchedulerConfig config, SamplerOptions options, bool roundsKarras = false)
    {
        var schedule = NoiseSchedule.Build(config, finiteSigmas: true);
        double[] table = schedule.Sigmas(), levels, times;
        double[] logs = Array.ConvertAll(table, DoubleMath.Log);
        if (options.Sigmas is { } given)
        {
            return new SigmaGrid(given, Array.ConvertAll(given[..^1], s => TimeOf(s, logs))) { FinalTime = TimeOf(given[^1], logs) };
        }

        times = options.Timesteps ?? Spaced(config, options.Steps);
        int n = times.Length;
        levels = Array.ConvertAll(times, t => NoiseSchedule.Interpolate(t, table));
        if (config.LogLinearInterpolation && options.Timesteps is null)
        {
            // One level more than steps: the last step ends at the least level of the training, the final one is never reached.
            levels = SigmaSchedule.Exponential(table[0], table[^1], n + 1);
        }

        if (config.SigmaSchedule.Length > 0)
        {
            levels = SigmaSchedule.Build(config.SigmaSchedule, config.SigmaMin ?? levels[^1], config.SigmaMax ?? levels[0], n);
            times = Array.ConvertAll(levels, s => roundsKarras && config.SigmaSchedule == "karras" ? Math.Round(TimeOf(s, logs)) : TimeOf(s, logs));
        }

        double last = config.FinalSigmaZero ? 0 : table[0];
        if (config.ContinuousTimesteps && config.Prediction == Prediction.V) times = Array.ConvertAll(levels, s => 0.25 * DoubleMath.Log(s));
        return new SigmaGrid([.. levels, last], times);
    }

    /// <summary>The training step, with fraction, whose noise level this is; linear in ln sigma.</summary>
    public static double TimeOf(double sigma, double[] logs)
    {
        if (logs.Length == 1) return 0;                  // a training of one step has one time
        double log = DoubleMath.Log(Math.Max(sigma, 1e-10));
        int low = Math.Clamp(Array.FindLastIndex(logs, l => log >= l), 0, logs.Length - 2);
        double gap = logs[low] - logs[low + 1];          // 0 where a beta is too small to move the level
        double weight = gap == 0 ? 0 : Math.Clamp((logs[low] - log) / gap, 0, 1);
        return (1 - weight) * low + weight * (low + 1);
    }

    private static double[] Spaced(SchedulerConfig config, int steps) => config.Spacing == "linspace"
        ? [.. NoiseSchedule.Linspace(0, config.TrainSteps - 1, steps).Reverse()]
        : NoiseSchedule.SpacedTimesteps(config.Spacing!, config.TrainSteps, steps, config.StepsOffset, steps);

    /// <summary>Standard deviation of the first latent: that of x0 + sigma*eps where the spacing does not reach the last training step.</summary>
    public double InitialSigma(SchedulerConfig config)
    {
        double top = Sigmas.Max();
        return config.Spacing is "linspace" or "trailing" ? top : Math.Sqrt(top * top + 1);
    }

    public static double InputScale(double sigma) => 1 / Math.Sqrt(sigma * sigma + 1);
}
