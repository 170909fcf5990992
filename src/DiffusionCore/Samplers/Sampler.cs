using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Samplers;

/// <summary>Samplers by name: this engine's own names, those that users of other programs type, and scheduler classes.</summary>
public static partial class Sampler
{
    private static readonly string[] Spacings = ["leading", "linspace", "trailing"];

    /// <summary>What --schedule takes: placements of noise levels, or spacings of training steps; default is what the model's configuration says.</summary>
    public static IReadOnlyList<string> Schedules { get; } = ["default", .. SigmaSchedule.Names, .. Spacings, .. LevelSchedule.Names.Except(SigmaSchedule.Names)];

    /// <summary>The run of a sampler as numbers.</summary>
    /// <param name="config">The model's; another sampler than its own takes its betas, prediction type, spacing and clipping.</param>
    /// <param name="name">A canonical name, an alias or a scheduler class; null for the config's own class.</param>
    /// <param name="schedule">One of <see cref="Schedules"/>, or null.</param>
    /// <exception cref="UsageException">An unknown name, or options that do not fit.</exception>
    /// <exception cref="ModelFileException">The configuration asks for what this engine does not have.</exception>
    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options, string? name = null, string? schedule = null)
    {
        if (options.SnrShift is { } shift && shift != 1) return Shifted(config, options, name, schedule, shift);
        if (OnLevels(config, options, name, schedule) is { } levels) return levels;
        var (row, suffix) = name is not null ? Find(name) : (OfClass(config.ClassName) ?? throw config.Problem("_class_name", Unsupported(config.ClassName)), "");
        (row, config) = ForModel(row, config);
        schedule = schedule is null or "default" ? suffix : schedule;
        bool explicitly = options.Timesteps is not null || options.Sigmas is not null;
        if (schedule.Length > 0)
        {
            if (explicitly) throw new UsageException($"schedule '{schedule}' and an explicit list of steps exclude each other");
            if (LevelsOf(row, config, options, schedule) is { } placed) (options, explicitly) = (options with { Sigmas = placed }, true);
            else config = Scheduled(row, config, schedule);
        }

        if (explicitly) config = config with { SigmaSchedule = "" };
        if (options.Sigmas is not null && !row.TakesLevels) throw new UsageException($"sigmas: {row.Name} works on training steps; give timesteps");
        if (options.Eta is > 0 && !row.TakesEta) throw new UsageException($"eta: {row.Name} has none; it belongs to {Those(r => r.TakesEta)}");
        if (options.Churn > 0 && !row.TakesChurn) throw new UsageException($"churn: {row.Name} has none; it belongs to {Those(r => r.TakesChurn)}");
        if (options.SolverOrder is { } order) (config, options) = Ordered(row, config, options, order);
        options.Check(config);
        var plan = row.Plan(config, options);
        Check(plan);
        return plan;
    }

    private static SchedulerConfig Scheduled(Row row, SchedulerConfig config, string schedule)
    {
        if (!Schedules.Contains(schedule)) throw new UsageException($"schedule '{schedule}' is unknown{Suggestion.Hint(schedule, [.. Schedules])}");
        if (Spacings.Contains(schedule))
        {
            if (!row.TakesSpacings) throw new UsageException($"schedule '{schedule}' spaces training steps; {row.Name} places its own: use {Those(r => r.TakesSpacings)}");
            return config with { Spacing = schedule, SigmaSchedule = "" };
        }

        if (!row.TakesLevels) throw new UsageException($"schedule '{schedule}' places noise levels; {row.Name} works on training steps: use {Those(r => r.TakesLevels)}");
        if (row.Class is not (Edm.EulerClass or Edm.DpmClass)) return config with { SigmaSchedule = schedule };
        return schedule is "karras" or "exponential" ? config with { EdmSchedule = schedule } : throw new UsageException($"schedule '{schedule}': {row.Name} has karras and exponential");
    }

    private static string Those(Predicate<Row> which) => string.Join(", ", Array.FindAll(Table, which).Select(r => r.Name));

    private static void Check(SamplerPlan plan)
    {
        if (plan.Evaluations.Count == 0) throw new UsageException($"{plan.Name}: no step is left of {plan.Steps}");
        for (int i = 0; plan.Sigmas is { } s && i + 1 < s.Length; i++)
        {
            // The last level may stand more than once, where each is seen twice.
            if (!(s[i] >= 0) || !double.IsFinite(s[i]) || (s[i] == 0 && s[i + 1] <= s[i] && Array.Exists(s[i..], v => v != 0))) throw new UsageException(FormattableString.Invariant($"{plan.Name}: noise level {i} is {s[i]}; only the last may be zero"));
        }

        foreach (var e in plan.Evaluations)
        {
            if (e.Alpha == 0 && plan.Prediction == Prediction.Epsilon && e.Evaluates)
                throw new UsageException($"{plan.Name}: an eps prediction says nothing where the signal is zero (zero terminal SNR); use v_prediction, or the spacing leading");
            if (!double.IsFinite(e.Time + e.InputScale + e.X + e.D + e.E + e.N + e.Sigma + e.History.Sum(t => t.Coefficient)))
                throw new UsageException($"{plan.Name}: step {e.Step} has no finite coefficients; two steps may share a noise level: use fewer steps or another schedule");
        }
    }

    private static Row? OfClass(string name) => Array.Find(Table, r => r.Own && r.Classes.Contains(name)) ?? Array.Find(Table, r => r.Classes.Contains(name));

    private static (Row Row, string Schedule) Find(string name)
    {
        if (OfClass(name) is { } ofClass) return (ofClass, "");
        string wanted = Plain(name);
        foreach (string schedule in (string[])["", .. SigmaSchedule.Names])
        {
            if (!wanted.EndsWith(schedule, StringComparison.Ordinal)) continue;
            string stem = wanted[..^schedule.Length];
            var row = Array.Find(Table, r => Plain(r.Name) == stem || Array.Exists(r.Aliases, a => Plain(a) == stem)) ?? Array.Find(Table, r => Array.Exists(r.Classes, c => Plain(c) == stem));
            if (row is not null) return (row, schedule);
        }

        throw new UsageException($"sampler {Unsupported(name)}");
    }

    private static string Unsupported(string name) => $"'{name}' is not supported{Suggestion.Hint(name, [.. Names, .. LevelNames, .. ClassNames])}";

    internal static string Plain(string name) =>
        string.Concat(name.ToLowerInvariant().Replace("++", "pp", StringComparison.Ordinal).Where(char.IsAsciiLetterOrDigit));

    /// <summary>One sampler of the table.</summary>
    private sealed record Row(string Name, string[] Classes, Func<SchedulerConfig, SamplerOptions, SamplerPlan> Plan, params string[] Aliases)
    {
        public string Class => Classes[0];

        /// <summary>Whether this row, and not one that fixes a variant, is the class as its configuration says.</summary>
        public bool Own { get; init; }

        /// <summary>Works on noise levels, which may be given or placed by a schedule.</summary>
        public bool TakesLevels { get; init; }

        /// <summary>Works on training steps spaced as asked.</summary>
        public bool TakesSpacings { get; init; } = true;

        public bool TakesEta { get; init; }

        public bool TakesChurn { get; init; }
    }
}
