using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// The fields of a scheduler_config.json, checked. A file of a class that this engine does not sample with still tells its betas and its
/// prediction type, so another sampler can be named for it.
/// </summary>
public sealed record SchedulerConfig
{
    /// <summary>Classes that can be sampled as the file says.</summary>
    public static readonly string[] Classes = [Ddpm.Class, "DDPMParallelScheduler", Ddim.Class, "DDIMParallelScheduler", Euler.Class, Heun.Class, DpmSolverMultistep.Class];

    // Classes on the same betas whose own samplers are not here yet.
    private static readonly string[] BetaClasses =
    [
        "CogVideoXDDIMScheduler", "DDIMInverseScheduler", "DEISMultistepScheduler", "DPMSolverMultistepInverseScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler", "LMSDiscreteScheduler", "PNDMScheduler", "SASolverScheduler",
        "TCDScheduler", "UnCLIPScheduler", "UniPCMultistepScheduler",
    ];

    /// <summary>The file, for errors; empty where the configuration was made in code.</summary>
    public string Path { get; init; } = "";

    public string ClassName { get; init; } = Ddpm.Class;

    public int TrainSteps { get; init; } = 1000;

    public double BetaStart { get; init; } = 0.0001;

    public double BetaEnd { get; init; } = 0.02;

    public string BetaSchedule { get; init; } = "linear";

    public double[]? TrainedBetas { get; init; }

    public string VarianceType { get; init; } = "fixed_small";

    /// <summary>Null for the class's own way: DDPM and DDIM clip.</summary>
    public bool? ClipSample { get; init; }

    public double ClipRange { get; init; } = 1;

    public Prediction Prediction { get; init; }

    public bool Thresholding { get; init; }

    public double ThresholdRatio { get; init; } = 0.995;

    public double ThresholdMaximum { get; init; } = 1;

    /// <summary>leading, linspace or trailing (Lin et al. 2024, table 2); null for the class's own: leading for DDPM and DDIM, else linspace.</summary>
    public string? Spacing { get; init; }

    public int StepsOffset { get; init; }

    public bool ZeroTerminalSnr { get; init; }

    public bool SetAlphaToOne { get; init; } = true;

    /// <summary>karras, exponential, beta, lu, or empty for the schedule of the training.</summary>
    public string SigmaSchedule { get; init; } = "";

    public double? SigmaMin { get; init; }

    public double? SigmaMax { get; init; }

    public bool LogLinearInterpolation { get; init; }

    public bool ContinuousTimesteps { get; init; }

    public bool FinalSigmaZero { get; init; } = true;

    public int SolverOrder { get; init; } = 2;

    public string AlgorithmType { get; init; } = "dpmsolver++";

    public bool HeunCorrection { get; init; }

    public bool LowerOrderFinal { get; init; } = true;

    public bool EulerAtFinal { get; init; }

    public double LambdaMinClipped { get; init; } = double.NegativeInfinity;

    /// <exception cref="ModelFileException">A field is of the wrong type, out of range or unknown.</exception>
    public static SchedulerConfig Read(ConfigFile f)
    {
        string name = f.GetWord("_class_name", null, [.. Classes, .. BetaClasses]);
        bool narrow = name is Heun.Class or "KDPM2DiscreteScheduler" or "KDPM2AncestralDiscreteScheduler" or "DPMSolverSDEScheduler";
        bool scaled = name is "LCMScheduler" or "TCDScheduler" or "CogVideoXDDIMScheduler";
        double[]? trained = f.GetOptionalDoubles("trained_betas");
        for (int i = 0; i < trained?.Length; i++) Between0And1(f, $"trained_betas[{i}]", trained[i]);
        if (f.GetBool("use_flow_sigmas", false)) throw new ModelFileException(f.Path, "use_flow_sigmas", "is not supported yet");
        string schedule = "";
        foreach (var (field, value) in new[] { ("use_karras_sigmas", "karras"), ("use_exponential_sigmas", "exponential"), ("use_beta_sigmas", "beta"), ("use_lu_lambdas", "lu") })
        {
            if (!f.GetBool(field, false)) continue;
            if (schedule.Length > 0) throw new ModelFileException(f.Path, field, $"cannot be combined with the {schedule} schedule");
            schedule = value;
        }

        var config = new SchedulerConfig
        {
            Path = f.Path,
            ClassName = name,
            TrainSteps = f.GetInt("num_train_timesteps", 1000, 1, 1_000_000),
            BetaStart = Between0And1(f, "beta_start", f.GetDouble("beta_start", narrow || scaled ? 0.00085 : 0.0001)),
            BetaEnd = Between0And1(f, "beta_end", f.GetDouble("beta_end", narrow || scaled ? 0.012 : 0.02)),
            BetaSchedule = f.GetWord("beta_schedule", name == "UnCLIPScheduler" ? "squaredcos_cap_v2" : scaled ? "scaled_linear" : "linear", NoiseSchedule.BetaSchedules),
            TrainedBetas = trained,
            VarianceType = f.GetWord("variance_type", "fixed_small", "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"),
            ClipSample = f.Has("clip_sample") ? f.GetBool("clip_sample", null) : null,
            ClipRange = Positive(f, "clip_sample_range", 1),
            Prediction = f.GetWord("prediction_type", "epsilon", "epsilon", "sample", "v_prediction") switch
            {
                "sample" => Prediction.Sample,
                "v_prediction" => Prediction.V,
                _ => Prediction.Epsilon,
            },
            Thresholding = f.GetBool("thresholding", false),
            ThresholdRatio = f.GetDouble("dynamic_thresholding_ratio", 0.995, 1e-6, 1),
            ThresholdMaximum = Positive(f, "sample_max_value", 1),
            Spacing = f.Has("timestep_spacing") ? f.GetWord("timestep_spacing", null, "leading", "linspace", "trailing") : null,
            StepsOffset = f.GetInt("steps_offset", 0, 0, 1000),
            ZeroTerminalSnr = f.GetBool("rescale_betas_zero_snr", false),
            SetAlphaToOne = f.GetBool("set_alpha_to_one", true),
            SigmaSchedule = schedule,
            SigmaMin = f.Has("sigma_min") ? Positive(f, "sigma_min", 0) : null,
            SigmaMax = f.Has("sigma_max") ? Positive(f, "sigma_max", 0) : null,
            LogLinearInterpolation = f.GetWord("interpolation_type", "linear", "linear", "log_linear") == "log_linear",
            ContinuousTimesteps = f.GetWord("timestep_type", "discrete", "discrete", "continuous") == "continuous",
            FinalSigmaZero = f.GetWord("final_sigmas_type", "zero", "zero", "sigma_min") == "zero",
            SolverOrder = f.GetInt("solver_order", 2, 1, 3),
            // Words of the other multistep classes stand for this one's defaults, as where the peers turn one class into another.
            AlgorithmType = f.GetWord("algorithm_type", "dpmsolver++", "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis", "data_prediction", "noise_prediction") switch
            {
                "deis" or "data_prediction" or "noise_prediction" => "dpmsolver++",
                var word => word,
            },
            HeunCorrection = f.GetWord("solver_type", "midpoint", "midpoint", "heun", "logrho", "bh1", "bh2") == "heun",
            LowerOrderFinal = f.GetBool("lower_order_final", true),
            EulerAtFinal = f.GetBool("euler_at_final", false),
            LambdaMinClipped = f.GetDouble("lambda_min_clipped", double.NegativeInfinity),
        };
        if (trained is not null && trained.Length != config.TrainSteps)
            throw new ModelFileException(f.Path, "trained_betas", $"expected {config.TrainSteps} numbers as num_train_timesteps says, found {trained.Length}");
        if (config is { SigmaMin: { } low, SigmaMax: { } high } && low >= high) throw new ModelFileException(f.Path, "sigma_min", FormattableString.Invariant($"expected less than sigma_max = {high}, found {low}"));
        return config;
    }

    /// <summary>The same model sampled with a class: what the file leaves open is that class's own.</summary>
    internal SchedulerConfig For(string className)
    {
        bool onTimesteps = className is Ddpm.Class or Ddim.Class;
        return this with { ClassName = className, Spacing = Spacing ?? (onTimesteps ? "leading" : "linspace"), ClipSample = ClipSample ?? onTimesteps };
    }

    /// <summary>An error about a field: of the file where there is one, else of the caller.</summary>
    internal DiffusionCoreException Problem(string field, string problem) =>
        Path.Length > 0 ? new ModelFileException(Path, field, problem) : new UsageException($"{field}: {problem}");

    private static double Between0And1(ConfigFile f, string field, double value) =>
        value > 0 && value < 1 ? value : throw new ModelFileException(f.Path, field, FormattableString.Invariant($"expected a number between 0 and 1 (neither included), found {value}"));

    private static double Positive(ConfigFile f, string field, double fallback) =>
        f.GetDouble(field, fallback) is var value && value > 0 && double.IsFinite(value)
            ? value
            : throw new ModelFileException(f.Path, field, FormattableString.Invariant($"expected a positive number, found {value}"));
}
