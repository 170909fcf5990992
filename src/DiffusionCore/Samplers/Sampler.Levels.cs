using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Samplers;

/// <content>
/// Samplers on noise levels (<see cref="KSampler"/>) beside the scheduler classes. A name that both have is the class's unless the options ask for another
/// program's mathematics.
/// </content>
public static partial class Sampler
{
    // What users of other programs type.
    private static readonly (string Name, string[] Aliases)[] LevelAliases =
    [
        ("euler_ancestral", ["euler_a"]),
        ("dpm_2", ["dpm2"]),
        ("dpm_2_ancestral", ["dpm2_a", "dpm_2_a"]),
        ("dpmpp_2s_ancestral", ["dpmpp_2s_a", "dpmpp_2s"]),
        ("gradient_estimation", ["ge"]),
        ("rk45", ["dopri5", "probability_flow"]),
    ];

    // Samplers whose schedule ComfyUI and A1111 make one step longer, and then drop the level before the last.
    private static readonly string[] ComfyDrops = ["dpm_2", "dpm_2_ancestral"], WebuiDrops = ["dpm_2", "dpm_2_ancestral", "dpmpp_3m_sde"];

    // What A1111's schedule "automatic" stands for; uniform for the rest.
    private static readonly string[] WebuiKarras = ["dpmpp_2m", "dpmpp_sde", "dpmpp_2s_ancestral", "dpm_2", "dpm_2_ancestral", "restart"];
    private static readonly string[] WebuiExponential = ["dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"];

    /// <summary>Names of the samplers on noise levels that no scheduler class has.</summary>
    public static IReadOnlyList<string> LevelNames => [.. KSampler.Names.Where(n => !Array.Exists(Table, r => r.Name == n))];

    /// <summary>The plan where the name is one of the samplers on noise levels; null where a scheduler class serves it.</summary>
    private static SamplerPlan? OnLevels(SchedulerConfig config, SamplerOptions options, string? name, string? schedule)
    {
        bool own = options.Compatibility == Compatibility.Diffusers;
        if (name is null) return own ? null : throw new UsageException($"compat: name a sampler, one of {string.Join(", ", KSampler.Names)}; the model's own is a class of diffusers");
        if (own && Knows(name)) return null;
        if (FindOnLevels(name) is not { } found)
            return own || !Knows(name) ? null : throw new UsageException($"compat: {name} exists in the mathematics of diffusers only; use --compat diffusers, or one of {string.Join(", ", KSampler.Names)}");
        if (FlowClasses.Contains(config.ClassName) || EdmClasses.Contains(config.ClassName))
            throw new UsageException($"sampler {found.Name} works on the noise levels of the betas; {config.ClassName} has others");
        schedule = schedule is null or "default" ? found.Schedule : schedule;
        if (schedule.Length > 0 && (options.Timesteps ?? options.Sigmas) is not null) throw new UsageException($"schedule '{schedule}' and an explicit list of steps exclude each other");
        options.Check(config);
        var k = options.Levels ?? new KOptions();
        k = k with { Eta = k.Eta ?? options.Eta, Order = options.SolverOrder ?? k.Order };
        if (options.Churn > 0) k = k with { Churn = options.Churn, ChurnMinimum = options.ChurnMinimum, ChurnMaximum = options.ChurnMaximum, NoiseScale = options.ChurnNoise };
        var (levels, deviation) = Levels(config, options, found.Name, schedule);
        var plan = KSampler.Plan(found.Name, levels, k) with { InitialSigma = deviation };
        if (plan.Adaptive is null) Check(plan);
        return plan;
    }

    /// <summary>Levels of a schedule that the classes do not have themselves, for a class that takes levels; null otherwise.</summary>
    private static double[]? LevelsOf(Row row, SchedulerConfig config, SamplerOptions options, string schedule)
    {
        if (SigmaSchedule.Names.Contains(schedule) || Spacings.Contains(schedule) || !Schedules.Contains(schedule)) return null;
        if (!row.TakesLevels || FlowClasses.Contains(row.Class) || EdmClasses.Contains(row.Class) || config.FlowSigmas)
            throw new UsageException($"schedule '{schedule}' places noise levels of the betas; {row.Name} has none: use {Those(r => r.TakesLevels && !FlowClasses.Contains(r.Class) && !EdmClasses.Contains(r.Class))}");
        double[] levels = LevelSchedule.Build(schedule, ModelLevels.Of(config), options.Steps, options.Compatibility, options.Rho);
        return levels;
    }

    private static bool Knows(string name)
    {
        if (OfClass(name) is not null) return true;
        string wanted = Plain(name);
        return Array.Exists(["", .. SigmaSchedule.Names], s => wanted.EndsWith(s, StringComparison.Ordinal) && IsRow(wanted[..^s.Length]));

        static bool IsRow(string stem) => Array.Exists(Table, r => Plain(r.Name) == stem || Array.Exists(r.Aliases, a => Plain(a) == stem) || Array.Exists(r.Classes, c => Plain(c) == stem));
    }

    private static (string Name, string Schedule)? FindOnLevels(string name)
    {
        string wanted = Plain(name);
        foreach (string prefix in (string[])["", "k", "sample"])
        {
            foreach (string schedule in (string[])["", .. LevelSchedule.Names.OrderByDescending(s => s.Length)])
            {
                if (!wanted.StartsWith(prefix, StringComparison.Ordinal) || !wanted.EndsWith(Plain(schedule), StringComparison.Ordinal) || wanted.Length <= prefix.Length + Plain(schedule).Length) continue;
                string stem = wanted[prefix.Length..^Plain(schedule).Length];
                string? found = KSampler.Names.FirstOrDefault(n => Plain(n) == stem) ?? Array.Find(LevelAliases, a => Array.Exists(a.Aliases, v => Plain(v) == stem)).Name;
                if (found is not null) return (found, schedule);
            }
        }

        return null;
    }

    // The levels of a run, and the standard deviation of its first latent.
    private static (NoiseLevels Levels, double Deviation) Levels(SchedulerConfig config, SamplerOptions options, string name, string schedule)
    {
        var model = ModelLevels.Of(config);
        var compatibility = options.Compatibility;
        string[] dropping = compatibility switch { Compatibility.Comfy => ComfyDrops, Compatibility.A1111 => WebuiDrops, _ => [] };
        bool drops = dropping.Contains(name) && options.Sigmas is null && options.Timesteps is null;
        if ((schedule is "" or "automatic") && compatibility == Compatibility.A1111) schedule = WebuiKarras.Contains(name) ? "karras" : WebuiExponential.Contains(name) ? "exponential" : "uniform";
        int steps = options.Steps + (drops ? 1 : 0);
        Func<double, double> time = compatibility == Compatibility.Comfy ? model.NearestStep : model.Time;
        SigmaGrid? grid = null;
        double[] sigmas;
        if (options.Sigmas is { } given)
        {
            sigmas = given;
        }
        else if (options.Timesteps is { } timesteps)
        {
            sigmas = [.. timesteps.Select(model.Sigma), 0];
        }
        else if (compatibility == Compatibility.Diffusers && (schedule.Length == 0 || SigmaSchedule.Names.Contains(schedule) || Spacings.Contains(schedule)))
        {
            var wanted = config.For(Euler.Class);
            if (Spacings.Contains(schedule)) wanted = wanted with { Spacing = schedule, SigmaSchedule = "" };
            else if (schedule.Length > 0) wanted = wanted with { SigmaSchedule = schedule };
            grid = SigmaGrid.Build(wanted, options);
            sigmas = grid.Sigmas;
            time = sigma => Array.IndexOf(grid.Sigmas, sigma) is var i && i >= 0 && i < grid.Times.Length ? grid.Times[i] : model.Time(sigma);
        }
        else
        {
            sigmas = LevelSchedule.Build(schedule.Length > 0 ? schedule : compatibility == Compatibility.Comfy ? "normal" : "uniform", model, steps, compatibility, options.Rho);
        }

        if (drops && sigmas.Length > 2) sigmas = [.. sigmas[..^2], sigmas[^1]];
        if (options.SkipSteps >= sigmas.Length - 1) throw new UsageException($"{name}: no step is left of {sigmas.Length - 1}");
        double first = sigmas[0], deviation = compatibility switch
        {
            Compatibility.Diffusers => grid?.InitialSigma(config.For(Euler.Class)) ?? first,
            Compatibility.Comfy when first >= model.Maximum * (1 - 1e-5) => Math.Sqrt(1 + first * first),
            _ => first,
        };
        return (new NoiseLevels(sigmas[options.SkipSteps..], time, ScalesInput: true, config.Prediction) { FirstStep = options.SkipSteps }, deviation);
    }
}
