using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Samplers;

/// <content>Options that many samplers share: the solver's order and a shift of the noise levels.</content>
public static partial class Sampler
{
    private const int LargestOrder = 3;

    // A plan on levels that were those of another plan, shifted.
    private static SamplerPlan Shifted(SchedulerConfig config, SamplerOptions options, string? name, string? schedule, double shift)
    {
        if (!(shift > 0 && double.IsFinite(shift))) throw new UsageException(FormattableString.Invariant($"snr shift: expected a positive number, found {shift}"));
        if (options.Sigmas is not null || options.Timesteps is not null) throw new UsageException("snr shift: an explicit list of steps is taken as it stands; shift its numbers instead");
        if (FlowClasses.Contains(config.ClassName) || EdmClasses.Contains(config.ClassName)) throw new UsageException($"snr shift: the levels of {config.ClassName} have a shift of their own; it belongs to models with betas");
        var (own, takes) = name is null || (options.Compatibility == Compatibility.Diffusers && Knows(name))
            ? (name is null ? OfClass(config.ClassName) ?? throw config.Problem("_class_name", Unsupported(config.ClassName)) : Find(name).Row) is { } row ? (name is null ? null : row.Name, row.TakesLevels) : (null, false)
            : (FindOnLevels(name)?.Name ?? name, true);
        var plan = Plan(config, options with { SnrShift = null, SkipSteps = 0 }, name, schedule);
        if (!takes || plan.Sigmas is not { } levels || plan.Adaptive is null && levels.Length != plan.Steps + 1)
            throw new UsageException($"snr shift: {plan.Name} works on training steps, not on noise levels; use {Those(r => r.TakesLevels && !FlowClasses.Contains(r.Class) && !EdmClasses.Contains(r.Class))}");
        var model = ModelLevels.Of(config);
        double[] shifted = [.. LevelSchedule.Shift(levels, shift).Select(s => s == 0 ? 0 : Math.Clamp(s, model.Minimum, model.Maximum)).Distinct()];
        return Plan(config, options with { SnrShift = null, Sigmas = shifted, Steps = shifted.Length - 1 }, own, null);
    }

    /// <summary>The configuration and options with the order that is asked for.</summary>
    private static (SchedulerConfig Config, SamplerOptions Options) Ordered(Row row, SchedulerConfig config, SamplerOptions options, int order)
    {
        bool lms = row.Class == Lms.Class;
        if (!lms && !HasOrder(row)) throw new UsageException($"order: {row.Name} has none to choose; it belongs to {Those(r => r.Class == Lms.Class || HasOrder(r))}");
        int largest = lms ? 4 : LargestOrder;
        if (order < 1 || order > largest) throw new UsageException($"order: {row.Name} has orders 1 to {largest}, found {order}");
        return lms ? (config, options with { Order = order }) : (config with { SolverOrder = order }, options);
    }

    private static bool HasOrder(Row row) => row.Name is "dpm-multistep" or "dpm-singlestep" or "dpm-inverse" or "deis" or "unipc" or "edm-dpm";
}
