using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Samplers by name: this engine's own names, those that users of other programs type, and scheduler classes.</summary>
public static class Sampler
{
    private static readonly Row[] Table =
    [
        new("ddpm", Ddpm.Class, Ddpm.Plan, TakesNoiseLevels: false, ["DDPMParallelScheduler"]),
        new("ddim", Ddim.Class, Ddim.Plan, TakesNoiseLevels: false, ["DDIMParallelScheduler"]),
        new("euler", Euler.Class, Euler.Plan, TakesNoiseLevels: true, ["k_euler", "sample_euler"]),
        new("heun", Heun.Class, Heun.Plan, TakesNoiseLevels: true, ["k_heun", "sample_heun"]),
        new("dpmpp_2m", DpmSolverMultistep.Class, (c, o) => DpmSolverMultistep.Plan(c with { AlgorithmType = "dpmsolver++", SolverOrder = 2 }, o), TakesNoiseLevels: true,
            ["k_dpmpp_2m", "sample_dpmpp_2m", "dpmsolver++", "dpm-solver++ 2m", "dpm-solver++"]),
        new("dpmpp_2m_sde", DpmSolverMultistep.Class, (c, o) => DpmSolverMultistep.Plan(c with { AlgorithmType = "sde-dpmsolver++", SolverOrder = 2 }, o), TakesNoiseLevels: true,
            ["k_dpmpp_2m_sde", "sample_dpmpp_2m_sde", "sde-dpmsolver++"]),
        // The class by its own name does what its configuration says.
        new("dpm-multistep", DpmSolverMultistep.Class, DpmSolverMultistep.Plan, TakesNoiseLevels: true, [DpmSolverMultistep.Class]),
    ];

    private static readonly string[] Spacings = ["leading", "linspace", "trailing"];

    /// <summary>Canonical names. Case, spaces, dashes and underscores do not count, "++" is "pp", and the name of a schedule may follow: "DPM++ 2M Karras".</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Table.Select(r => r.Name)];

    /// <summary>What --schedule takes: placements of noise levels, or spacings of training steps; default is what the model's configuration says.</summary>
    public static IReadOnlyList<string> Schedules { get; } = ["default", .. SigmaSchedule.Names, .. Spacings];

    /// <summary>The run of a sampler as numbers.</summary>
    /// <param name="config">The model's; another sampler than its own takes its betas, prediction type, spacing and clipping.</param>
    /// <param name="name">A canonical name, an alias or a scheduler class; null for the config's own class.</param>
    /// <param name="schedule">One of <see cref="Schedules"/>, or null.</param>
    /// <exception cref="UsageException">An unknown name, or options that do not fit.</exception>
    /// <exception cref="ModelFileException">The configuration asks for what this engine does not have.</exception>
    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options, string? name = null, string? schedule = null)
    {
        var (row, suffix) = name is not null ? Find(name) : (OfClass(config.ClassName) ?? throw config.Problem("_class_name", Unsupported(config.ClassName)), "");
        schedule = schedule is null or "default" ? suffix : schedule;
        bool explicitly = options.Timesteps is not null || options.Sigmas is not null;
        if (schedule.Length > 0)
        {
            if (!Schedules.Contains(schedule)) throw new UsageException($"schedule '{schedule}' is unknown{Suggestion.Hint(schedule, [.. Schedules])}");
            if (explicitly) throw new UsageException($"schedule '{schedule}' and an explicit list of steps exclude each other");
            if (Spacings.Contains(schedule)) config = config with { Spacing = schedule, SigmaSchedule = "" };
            else if (row.TakesNoiseLevels) config = config with { SigmaSchedule = schedule };
            else throw new UsageException($"schedule '{schedule}' places noise levels; {row.Name} works on training steps: use {string.Join(", ", Table.Where(r => r.TakesNoiseLevels).Select(r => r.Name))}");
        }

        if (explicitly) config = config with { SigmaSchedule = "" };
        if (options.Sigmas is not null && !row.TakesNoiseLevels) throw new UsageException($"sigmas: {row.Name} works on training steps; give timesteps");
        if (options.Eta != 0 && row.Class != Ddim.Class) throw new UsageException($"eta: {row.Name} has none; it belongs to ddim");
        options.Check(config);
        var plan = row.Plan(config, options);
        Check(plan);
        return plan;
    }

    private static void Check(SamplerPlan plan)
    {
        if (plan.Evaluations.Count == 0) throw new UsageException($"{plan.Name}: no step is left of {plan.Steps}");
        for (int i = 0; plan.Sigmas is { } s && i + 1 < s.Length; i++)
        {
            if (!(s[i] > 0) || !double.IsFinite(s[i])) throw new UsageException(FormattableString.Invariant($"{plan.Name}: noise level {i} is {s[i]}; only the last may be zero"));
        }

        foreach (var e in plan.Evaluations)
        {
            if (e.Alpha == 0 && plan.Prediction == Prediction.Epsilon)
                throw new UsageException($"{plan.Name}: an eps prediction says nothing where the signal is zero (zero terminal SNR); use v_prediction, or the spacing leading");
            if (!double.IsFinite(e.Time + e.InputScale + e.X + e.D + e.E + e.N + e.Sigma + e.History.Sum(t => t.Coefficient)))
                throw new UsageException($"{plan.Name}: step {e.Step} has no finite coefficients; two steps may share a noise level: use fewer steps or another schedule");
        }
    }

    private static Row? OfClass(string name) => Array.Find(Table, r => r.Aliases.Contains(name)) ?? Array.Find(Table, r => r.Class == name);

    private static (Row Row, string Schedule) Find(string name)
    {
        if (OfClass(name) is { } ofClass) return (ofClass, "");
        string wanted = Plain(name);
        foreach (string schedule in (string[])["", .. SigmaSchedule.Names])
        {
            if (!wanted.EndsWith(schedule, StringComparison.Ordinal)) continue;
            string stem = wanted[..^schedule.Length];
            if (Array.Find(Table, r => Plain(r.Name) == stem || Plain(r.Class) == stem || Array.Exists(r.Aliases, a => Plain(a) == stem)) is { } row) return (row, schedule);
        }

        throw new UsageException($"sampler {Unsupported(name)}");
    }

    private static string Unsupported(string name) => $"'{name}' is not supported{Suggestion.Hint(name, [.. Names, .. SchedulerConfig.Classes])}";

    private static string Plain(string name) =>
        string.Concat(name.ToLowerInvariant().Replace("++", "pp", StringComparison.Ordinal).Where(char.IsAsciiLetterOrDigit));

    private sealed record Row(string Name, string Class, Func<SchedulerConfig, SamplerOptions, SamplerPlan> Plan, bool TakesNoiseLevels, string[] Aliases);
}
