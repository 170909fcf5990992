using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Ode;
using DiffusionCore.Samplers.Sde;

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
        ("dpmpp_2m_sde_heun", (l, o) => KDpmpp2M.PlanSde(l, o with { Heun = true }) with { Name = "dpmpp_2m_sde_heun" }, true),
        ("dpmpp_3m_sde", KDpmpp2M.PlanSde3, true),
        ("res_multistep", (l, o) => ResMultistep.Plan(l, o with { Eta = 0 }), false),
        ("res_multistep_ancestral", (l, o) => ResMultistep.Plan(l, o with { Eta = o.Eta ?? 1 }) with { Name = "res_multistep_ancestral" }, true),
        ("gradient_estimation", GradientEstimation.Plan, false),
        ("rk45", ProbabilityFlow.Plan, false),
        ("seeds_2", Seeds.Plan2, true),
        ("seeds_3", Seeds.Plan3, true),
        ("er_sde", ErSde.Plan, false),
        ("restart", Restart.Plan, false),
        ("gddim", GDdim.Plan, true),
        ("euler_cfg_pp", KCfgPlusPlus.PlanEuler, false),
        ("euler_ancestral_cfg_pp", KCfgPlusPlus.PlanEulerAncestral, true),
        ("dpmpp_2m_cfg_pp", KCfgPlusPlus.PlanDpmpp2M, false),
        ("res_multistep_cfg_pp", KCfgPlusPlus.PlanResMultistep, false),
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
        if (options.Eta > 0 && !row.Noisy) throw new UsageException(FormattableString.Invariant($"eta: {name} is deterministic and takes no share of noise, found {options.Eta}"));
        if (options.Churn > 0 && name is not ("euler" or "heun" or "dpm_2")) throw new UsageException($"churn: {name} has none; it belongs to euler, heun and dpm_2");
        if (options.Order is not null && name is not ("lms" or "dpm_adaptive" or "er_sde")) throw new UsageException($"order: {name} has none to choose; it belongs to lms, dpm_adaptive and er_sde");
        if (options.Gamma is not null && name != "gradient_estimation") throw new UsageException($"gamma: {name} has none; it belongs to gradient_estimation");
        if (options.Restarts is not null && name != "restart") throw new UsageException($"restart: {name} has none; it belongs to restart");
        return row.Plan(levels, options);
    }
}
