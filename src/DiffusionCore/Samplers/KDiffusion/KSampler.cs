using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>The samplers on noise levels by name, in k-diffusion's mathematics.</summary>
public static class KSampler
{
    private static readonly (string Name, Func<NoiseLevels, KOptions, SamplerPlan> Plan, bool Noisy)[] Table =
    [
        ("euler", KEuler.Plan, false),
        ("euler_ancestral", KEulerAncestral.Plan, true),
        ("heun", KHeun.Plan, false),
        ("dpm_2", KDpm2.Plan, false),
        ("dpm_2_ancestral", KDpm2.PlanAncestral, true),
        ("lms", KLms.Plan, false),
        ("dpm_fast", KDpmSolver.PlanFast, true),
        ("dpm_adaptive", KDpmSolver.PlanAdaptive, true),
        ("dpmpp_2s_ancestral", KDpmppTwoStage.PlanAncestral, true),
        ("dpmpp_sde", KDpmppTwoStage.PlanSde, true),
        ("dpmpp_2m", KDpmpp2M.Plan, false),
        ("dpmpp_2m_sde", KDpmpp2M.PlanSde, true),
        ("dpmpp_3m_sde", KDpmpp2M.PlanSde3, true),
    ];

    public static IReadOnlyList<string> Names { get; } = [.. Table.Select(r => r.Name)];

    /// <exception cref="UsageException">An unknown name, levels that do not fall, or options that the sampler does not have.</exception>
    public static SamplerPlan Plan(string name, NoiseLevels levels, KOptions? options = null)
    {
        options ??= new KOptions();
        var row = Array.Find(Table, r => r.Name == name);
        if (row.Plan is null) throw new UsageException($"sampler '{name}' is unknown{Suggestion.Hint(name, [.. Names])}");
        levels.Check();
        options.Check();
        if (options.Eta > 0 && !row.Noisy) throw new UsageException(FormattableString.Invariant($"eta: {name} is deterministic and adds no noise, found {options.Eta}"));
        if (options.Churn > 0 && name is not ("euler" or "heun" or "dpm_2")) throw new UsageException($"churn: {name} has none; it belongs to euler, heun and dpm_2");
        if (options.Order is not null && name is not ("lms" or "dpm_adaptive")) throw new UsageException($"order: {name} has none to choose; it belongs to lms and dpm_adaptive");
        return row.Plan(levels, options);
    }
}
