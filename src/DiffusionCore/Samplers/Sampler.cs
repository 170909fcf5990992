using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Samplers by name: this engine's own, and those that users of other programs type.</summary>
public static class Sampler
{
    private static readonly (string Name, string Class, string Schedule, string[] Aliases)[] Table =
    [
        ("ddpm", "DDPMScheduler", "", []),
        ("ddim", "DDIMScheduler", "", []),
        ("euler", "EulerDiscreteScheduler", "", []),
        ("heun", "HeunDiscreteScheduler", "", []),
        ("dpmpp_2m", "DPMSolverMultistepScheduler", "", ["dpm++ 2m", "dpm++2m", "dpmsolver++", "dpm-solver++ 2m", "dpmpp-2m"]),
        ("dpmpp_2m_karras", "DPMSolverMultistepScheduler", "karras", ["dpm++ 2m karras", "dpm++2m karras"]),
    ];

    /// <summary>Canonical names.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Table.Select(r => r.Name)];

    /// <summary>Names of sigma schedules that --schedule takes; default is the one of the training.</summary>
    public static IReadOnlyList<string> Schedules { get; } = ["default", .. SigmaSchedule.Names];

    /// <param name="name">A canonical name, an alias or a scheduler class; null for the config's own class.</param>
    /// <param name="schedule">One of <see cref="Schedules"/>, or null.</param>
    /// <exception cref="UsageException">An unknown name, or options that do not fit.</exception>
    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options, string? name = null, string? schedule = null)
    {
        var row = Find(name ?? config.ClassName);
        if (row.Class != config.ClassName)
        {
            // Another class than the file's: what both have carries over, the rest are the new class's own defaults.
            bool timesteps = row.Class is "DDPMScheduler" or "DDIMScheduler";
            config = config with { ClassName = row.Class, ClipSample = timesteps && config.ClipSample };
        }

        string sigmas = schedule is null or "default" ? row.Schedule : schedule;
        if (sigmas.Length > 0)
        {
            if (!SigmaSchedule.Names.Contains(sigmas)) throw new UsageException($"schedule '{sigmas}' is unknown{Suggestion.Hint(sigmas, [.. Schedules])}");
            if (row.Class is "DDPMScheduler" or "DDIMScheduler") throw new UsageException($"schedule '{sigmas}' places noise levels; {row.Name} works on training steps: use euler, heun or dpmpp_2m");
            config = config with { SigmaSchedule = sigmas };
        }

        var plan = row.Class switch
        {
            "DDPMScheduler" => Ddpm.Plan(config, options),
            "DDIMScheduler" => Ddim.Plan(config, options),
            "EulerDiscreteScheduler" => Euler.Plan(config, options),
            "HeunDiscreteScheduler" => Heun.Plan(config, options),
            _ => DpmSolverMultistep.Plan(config, options),
        };
        foreach (var e in plan.Evaluations)
        {
            if (!double.IsFinite(e.X) || !double.IsFinite(e.D) || !double.IsFinite(e.E) || !double.IsFinite(e.N) || !double.IsFinite(e.Sigma) || e.History.Any(t => !double.IsFinite(t.Coefficient)))
                throw new UsageException($"{plan.Name}: step {e.Step} has no finite coefficients with this schedule; choose another final noise level or prediction");
            if (e.Alpha == 0 && plan.Prediction == Prediction.Epsilon)
                throw new UsageException($"{plan.Name}: an eps prediction says nothing where the signal is zero (zero terminal SNR); use v_prediction or another spacing");
        }

        return plan;
    }

    private static (string Name, string Class, string Schedule, string[] Aliases) Find(string name)
    {
        foreach (var row in Table)
        {
            if (row.Name.Equals(name, StringComparison.OrdinalIgnoreCase) || row.Class.Equals(name, StringComparison.OrdinalIgnoreCase)
                || row.Aliases.Contains(name, StringComparer.OrdinalIgnoreCase)) return row;
        }

        throw new UsageException($"sampler '{name}' is unknown{Suggestion.Hint(name, [.. Names])}");
    }
}
