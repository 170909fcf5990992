using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <content>The table of samplers, and which of them stands in for another on a model of another family.</content>
public static partial class Sampler
{
    private static readonly Row[] Table =
    [
        new("ddpm", [Ddpm.Class, "DDPMParallelScheduler"], Ddpm.Plan),
        new("ddim", [Ddim.Class, "DDIMParallelScheduler"], Ddim.Plan) { TakesEta = true },
        new("euler", [Euler.Class], Euler.Plan, "k_euler", "sample_euler") { TakesLevels = true, TakesChurn = true },
        new("heun", [Heun.Class], Heun.Plan, "k_heun", "sample_heun") { TakesLevels = true },
        new("dpmpp_2m", [DpmSolverMultistep.Class], (c, o) => DpmSolverMultistep.Plan(c with { AlgorithmType = "dpmsolver++", SolverOrder = 2 }, o),
            "k_dpmpp_2m", "sample_dpmpp_2m", "dpmsolver++", "dpm-solver++ 2m", "dpm-solver++") { TakesLevels = true },
        new("dpmpp_2m_sde", [DpmSolverMultistep.Class], (c, o) => DpmSolverMultistep.Plan(c with { AlgorithmType = "sde-dpmsolver++", SolverOrder = 2 }, o),
            "k_dpmpp_2m_sde", "sample_dpmpp_2m_sde", "sde-dpmsolver++") { TakesLevels = true },
        // The class by its own name does what its configuration says.
        new("dpm-multistep", [DpmSolverMultistep.Class], DpmSolverMultistep.Plan) { TakesLevels = true, Own = true },
        new("dpm-singlestep", [DpmSolverSinglestep.Class], DpmSolverSinglestep.Plan) { TakesLevels = true, TakesSpacings = false },
        new("dpm-sde", [DpmSolverSde.Class], DpmSolverSde.Plan) { TakesLevels = true },
        new("dpm-inverse", [DpmSolverMultistep.InverseClass], DpmSolverMultistep.Inverse) { TakesLevels = true },
        new("ddim-inverse", [DdimInverse.Class], DdimInverse.Plan),
        new("pndm", [Pndm.Class], Pndm.Plan) { Own = true },
        new("plms", [Pndm.Class], (c, o) => Pndm.Plan(c with { SkipRungeKutta = true }, o)),
        new("lms", [Lms.Class], Lms.Plan, "k_lms", "sample_lms") { TakesLevels = true },
        new("euler_ancestral", [EulerAncestral.Class], EulerAncestral.Plan, "euler_a", "k_euler_a", "k_euler_ancestral", "sample_euler_ancestral") { TakesLevels = true },
        new("kdpm2", [Kdpm2.Class], Kdpm2.Plan) { TakesLevels = true },
        new("kdpm2_ancestral", [Kdpm2.AncestralClass], Kdpm2.Ancestral) { TakesLevels = true },
        new("deis", [Deis.Class], Deis.Plan) { TakesLevels = true },
        new("unipc", [UniPc.Class], UniPc.Plan, "uni_pc", "uni_pc_bh2") { TakesLevels = true },
        new("sa_solver", [SaSolver.Class], SaSolver.Plan) { TakesLevels = true },
        new("ipndm-v", [Ipndm.Class], Ipndm.Plan) { TakesSpacings = false },
        new("edm-euler", [Edm.EulerClass], Edm.Euler) { TakesLevels = true, TakesSpacings = false, TakesChurn = true },
        new("edm-dpm", [Edm.DpmClass], Edm.Dpm) { TakesLevels = true, TakesSpacings = false },
        new("lcm", [Lcm.Class], Lcm.Plan) { TakesSpacings = false },
        new("tcd", [Tcd.Class], Tcd.Plan) { TakesSpacings = false, TakesEta = true },
        new("cm", [ConsistencyModel.Class], ConsistencyModel.Plan) { TakesSpacings = false },
        new("flow-euler", [FlowMatch.EulerClass], FlowMatch.Euler) { TakesLevels = true, TakesSpacings = false },
        new("flow-heun", [FlowMatch.HeunClass], FlowMatch.Heun) { TakesLevels = true, TakesSpacings = false },
        new("flow-lcm", [FlowMatch.LcmClass], FlowMatch.Lcm) { TakesLevels = true, TakesSpacings = false },
        new("cogvideox-ddim", [CogVideoX.DdimClass], CogVideoX.Ddim),
        new("cogvideox-dpm", [CogVideoX.DpmClass], CogVideoX.Dpm),
        new("unclip", [UnClip.Class], UnClip.Plan) { TakesSpacings = false },
        new("score-sde-ve", [ScoreSdeVe.Class], ScoreSdeVe.Plan) { TakesSpacings = false },
        new("repaint", [RePaint.Class], RePaint.Plan) { TakesSpacings = false, TakesEta = true },
    ];

    /// <summary>Canonical names. Case, spaces, dashes and underscores do not count, "++" is "pp", and the name of a schedule may follow: "DPM++ 2M Karras".</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Table.Select(r => r.Name)];

    /// <summary>Scheduler classes of the peers that are sampled as their configuration says.</summary>
    public static IReadOnlyList<string> ClassNames { get; } = [.. Table.SelectMany(r => r.Classes).Distinct()];

    private static readonly string[] FlowClasses = [FlowMatch.EulerClass, FlowMatch.HeunClass, FlowMatch.LcmClass], EdmClasses = [Edm.EulerClass, Edm.DpmClass];

    // Solvers that know levels of rectified flow beside those of the betas.
    private static readonly string[] MultistepClasses = [DpmSolverMultistep.Class, DpmSolverSinglestep.Class, Deis.Class, UniPc.Class, SaSolver.Class];

    // A sampler by a name that other programs use for every family of models is that family's own.
    private static (Row Row, SchedulerConfig Config) ForModel(Row row, SchedulerConfig config)
    {
        if (FlowClasses.Contains(config.ClassName) && !FlowClasses.Contains(row.Class))
        {
            if (MultistepClasses.Contains(row.Class)) return (row, config with { FlowSigmas = true });
            return (Stand(row, "rectified flow", (Euler.Class, FlowMatch.EulerClass), (Heun.Class, FlowMatch.HeunClass), (Lcm.Class, FlowMatch.LcmClass)), config);
        }

        if (EdmClasses.Contains(config.ClassName) && !EdmClasses.Contains(row.Class))
            return (Stand(row, "preconditioned networks", (Euler.Class, Edm.EulerClass), (DpmSolverMultistep.Class, Edm.DpmClass)), config);
        return (row, config);
    }

    // Samplers of one family of models: how their levels or predictions differ from those of the betas.
    private static readonly (string[] Classes, string Family)[] Families =
    [
        (FlowClasses, "rectified flow"),
        (EdmClasses, "preconditioned networks (EDM)"),
        ([ConsistencyModel.Class], "consistency models"),
        ([Ipndm.Class], "networks that predict v and are told a time from 0 to 1"),
        ([ScoreSdeVe.Class], "score networks"),
    ];

    /// <summary>Whether a name stands for a sampler that fills the missing part of an image.</summary>
    public static bool FillsImages(string name) => Knows(name) && Find(name).Row.Class == RePaint.Class;

    /// <summary>Checks that a sampler named for a model belongs to its family.</summary>
    /// <param name="name">Null for the model's own.</param>
    /// <exception cref="UsageException">It does not.</exception>
    public static void CheckFits(SchedulerConfig config, string? name)
    {
        if (name is null || !Knows(name)) return;
        var row = Find(name).Row;
        var (classes, family) = Array.Find(Families, f => f.Classes.Contains(row.Class));
        if (classes is null || classes.Contains(config.ClassName)) return;
        throw new UsageException($"sampler {row.Name} is for {family}; this model's scheduler is {config.ClassName}, whose noise levels and predictions are others: use one of {string.Join(", ", Table.Where(r => !Array.Exists(Families, f => f.Classes.Contains(r.Class)) && r.Class != RePaint.Class).Select(r => r.Name))}");
    }

    private static Row Stand(Row row, string family, params (string For, string Use)[] pairs)
    {
        var pair = Array.Find(pairs, p => p.For == row.Class);
        return pair.Use is null ? throw new UsageException($"sampler {row.Name} is not one of {family}: use {string.Join(", ", pairs.Select(p => OfClass(p.Use)!.Name))}") : OfClass(pair.Use)!;
    }
}
