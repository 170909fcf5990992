using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>How the noise levels of the multistep families differ between the published classes.</summary>
internal readonly record struct MultistepRules
{
    /// <summary>Training steps noisier than lambda_min_clipped are left out.</summary>
    public bool Clipped { get; init; }

    /// <summary>From data to noise.</summary>
    public bool Rising { get; init; }

    /// <summary>The class knows one spacing, linspace.</summary>
    public bool LinspaceOnly { get; init; }

    /// <summary>The run ends where final_sigmas_type says; else at the least level of the training.</summary>
    public bool HasFinalType { get; init; }

    /// <summary>Where levels are placed by a schedule, the last of them stands for the final one too.</summary>
    public bool LastRepeats { get; init; }

    /// <summary>Levels of rectified flow start at 1 (less a millionth) instead of one interval before.</summary>
    public bool FlowFromOne { get; init; }

    /// <summary>Times of the karras and lu schedules are cut, not rounded, for the cosine betas.</summary>
    public bool CutsForCosine { get; init; }
}

/// <summary>Noise levels sigma/alpha (or of rectified flow) and times of DPM-Solver, DEIS, UniPC and SA-Solver. The network is told whole training steps.</summary>
internal static class MultistepGrid
{
    // The level 1 of rectified flow has no finite lambda.
    private const double FlowMargin = 1e-6;

    public static SigmaGrid Build(SchedulerConfig config, SamplerOptions options, MultistepRules rules)
    {
        var schedule = NoiseSchedule.Build(config, finiteSigmas: true);
        double[] table = schedule.Sigmas(), logs = Array.ConvertAll(table, DoubleMath.Log);
        // Training steps noisier than lambda_min_clipped are left out (unbounded lambda of the cosine schedule).
        int top = rules.Clipped ? table.Length - Array.FindAll(table, s => -DoubleMath.Log(s) < config.LambdaMinClipped).Length : table.Length;
        if (config.FlowSigmas && !(config.SigmaSchedule.Length == 0 || (rules.FlowFromOne && config.SigmaSchedule == "karras")))
            throw config.Problem("use_flow_sigmas", $"cannot be combined with the {config.SigmaSchedule} schedule");
        if (config.FlowSigmas) return Flow(config, options, rules, table[0]);
        if (options.Sigmas is { } given) return new SigmaGrid(given, Array.ConvertAll(given[..^1], s => Math.Round(SigmaGrid.TimeOf(s, logs))));

        double[] times = options.Timesteps ?? Spaced(config, options.Steps, top, rules), levels;
        bool placed = config.SigmaSchedule.Length > 0;
        if (placed)
        {
            levels = Placed(config, table, rules.Rising, options.Timesteps is null ? options.Steps : times.Length);
            // The peers round in two of the schedules and cut in the others.
            bool rounds = config.SigmaSchedule is "karras" or "lu" && !(rules.CutsForCosine && config.BetaSchedule == "squaredcos_cap_v2");
            times = Array.ConvertAll(levels, s => rounds ? Math.Round(SigmaGrid.TimeOf(s, logs)) : SigmaGrid.TimeOf(s, logs));
        }
        else
        {
            levels = Array.ConvertAll(times, t => NoiseSchedule.Interpolate(t, table));
        }

        if (rules.Rising) times = [.. times.Distinct()];
        return new SigmaGrid([.. levels, Last(config, rules, placed, levels, rules.Rising ? table[top - 1] : table[0])], Array.ConvertAll(times, Math.Truncate));
    }

    private static double[] Spaced(SchedulerConfig config, int steps, int top, MultistepRules rules)
    {
        double[] rising;
        switch (rules.LinspaceOnly ? "linspace" : config.Spacing)
        {
            case "linspace":
                rising = Array.ConvertAll(NoiseSchedule.Linspace(0, top - 1, steps + 1), Math.Round);
                break;
            case "leading":
                int ratio = top / (steps + 1);
                rising = [.. Enumerable.Range(0, steps + 1).Select(i => (double)(i * ratio + config.StepsOffset))];
                break;
            default:
                double stride = (double)config.TrainSteps / steps;
                double[] falling = [.. Enumerable.Range(0, (int)Math.Ceiling(top / stride)).Select(i => Math.Round(top - i * stride) - 1)];
                return rules.Rising ? [.. falling.Reverse()] : falling;
        }

        return rules.Rising ? rising[..^1] : [.. rising.Reverse().Take(steps)];
    }

    private static double[] Placed(SchedulerConfig config, double[] table, bool rising, int n)
    {
        double low = config.SigmaMin ?? table[0], high = config.SigmaMax ?? table[^1];
        // The schedules are not symmetric: upwards, the two ends change their roles.
        return rising ? SigmaSchedule.Build(config.SigmaSchedule, high, low, n) : SigmaSchedule.Build(config.SigmaSchedule, low, high, n);
    }

    private static SigmaGrid Flow(SchedulerConfig config, SamplerOptions options, MultistepRules rules, double least)
    {
        int n = options.Sigmas?.Length - 1 ?? options.Steps;
        double[] levels;
        if (config.SigmaSchedule == "karras")
        {
            double[] table = NoiseSchedule.Build(config, finiteSigmas: true).Sigmas();
            levels = Array.ConvertAll(Placed(config, table, rising: false, n), s => s / (s + 1));
        }
        else
        {
            double step = 1.0 / config.TrainSteps;
            levels = options.Sigmas is { } given ? [.. given[..^1]]
                : rules.FlowFromOne ? NoiseSchedule.Linspace(1, step, n + 1)[..^1]
                : [.. NoiseSchedule.Linspace(1, step, n + 1).Select(a => 1 - a).Reverse().Take(n)];
            levels = FlowLevels.Shifted(config, options, levels);
            if (rules.FlowFromOne && Math.Abs(levels[0] - 1) < FlowMargin) levels[0] -= FlowMargin;
        }

        double last = options.Sigmas is [.., > 0 and var end] ? end : Last(config, rules, placed: true, levels, least);
        return new SigmaGrid([.. levels, last], [.. levels.Select(s => Math.Truncate(s * config.TrainSteps))]);
    }

    private static double Last(SchedulerConfig config, MultistepRules rules, bool placed, double[] levels, double end) =>
        rules.HasFinalType && config.FinalSigmaZero ? 0 : rules.LastRepeats && placed ? levels[^1] : end;
}
