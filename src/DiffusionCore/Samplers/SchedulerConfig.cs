using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>The fields of a scheduler_config.json, with the defaults of its class, checked.</summary>
public sealed record SchedulerConfig
{
    public static readonly string[] Classes =
        ["DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"];

    public string ClassName { get; init; } = "DDPMScheduler";

    public int TrainSteps { get; init; } = 1000;

    public double BetaStart { get; init; } = 0.0001;

    public double BetaEnd { get; init; } = 0.02;

    public string BetaSchedule { get; init; } = "linear";

    public double[]? TrainedBetas { get; init; }

    public string VarianceType { get; init; } = "fixed_small";

    public bool ClipSample { get; init; }

    public double ClipRange { get; init; } = 1;

    public Prediction Prediction { get; init; }

    public bool Thresholding { get; init; }

    public double ThresholdRatio { get; init; } = 0.995;

    public double ThresholdMaximum { get; init; } = 1;

    public string Spacing { get; init; } = "leading";

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
        string name = f.GetWord("_class_name", null, Classes);
        bool heun = name == "HeunDiscreteScheduler", timesteps = name is "DDPMScheduler" or "DDIMScheduler";
        double[]? trained = f.GetOptionalDoubles("trained_betas");
        if (trained is not null && Array.FindIndex(trained, b => !(b > 0 && b < 1)) is >= 0 and var bad)
            throw new ModelFileException(f.Path, $"trained_betas[{bad}]", $"expected a number between 0 and 1, found {trained[bad]}");
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
            ClassName = name,
            TrainSteps = f.GetInt("num_train_timesteps", 1000, 1, 1_000_000),
            BetaStart = f.GetDouble("beta_start", heun ? 0.00085 : 0.0001, double.Epsilon, 0.999999),
            BetaEnd = f.GetDouble("beta_end", heun ? 0.012 : 0.02, double.Epsilon, 0.999999),
            BetaSchedule = f.GetWord("beta_schedule", "linear", NoiseSchedule.BetaSchedules),
            TrainedBetas = trained,
            VarianceType = f.GetWord("variance_type", "fixed_small", "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"),
            ClipSample = f.GetBool("clip_sample", timesteps),
            ClipRange = f.GetDouble("clip_sample_range", 1, double.Epsilon, 1e9),
            Prediction = f.GetWord("prediction_type", "epsilon", "epsilon", "sample", "v_prediction", "flow_prediction") switch
            {
                "sample" => Prediction.Sample,
                "v_prediction" => Prediction.V,
                "flow_prediction" => Prediction.Flow,
                _ => Prediction.Epsilon,
            },
            Thresholding = f.GetBool("thresholding", false),
            ThresholdRatio = f.GetDouble("dynamic_thresholding_ratio", 0.995, 1e-6, 1),
            ThresholdMaximum = f.GetDouble("sample_max_value", 1, double.Epsilon, 1e9),
            Spacing = f.GetWord("timestep_spacing", timesteps ? "leading" : "linspace", "leading", "linspace", "trailing"),
            StepsOffset = f.GetInt("steps_offset", 0, 0, 1000),
            ZeroTerminalSnr = f.GetBool("rescale_betas_zero_snr", false),
            SetAlphaToOne = f.GetBool("set_alpha_to_one", true),
            SigmaSchedule = schedule,
            SigmaMin = f.Has("sigma_min") ? f.GetDouble("sigma_min", null, double.Epsilon, 1e9) : null,
            SigmaMax = f.Has("sigma_max") ? f.GetDouble("sigma_max", null, double.Epsilon, 1e9) : null,
            LogLinearInterpolation = f.GetWord("interpolation_type", "linear", "linear", "log_linear") == "log_linear",
            ContinuousTimesteps = f.GetWord("timestep_type", "discrete", "discrete", "continuous") == "continuous",
            FinalSigmaZero = f.GetWord("final_sigmas_type", "zero", "zero", "sigma_min") == "zero",
            SolverOrder = f.GetInt("solver_order", 2, 1, 3),
            AlgorithmType = f.GetWord("algorithm_type", "dpmsolver++", "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"),
            HeunCorrection = f.GetWord("solver_type", "midpoint", "midpoint", "heun") == "heun",
            LowerOrderFinal = f.GetBool("lower_order_final", true),
            EulerAtFinal = f.GetBool("euler_at_final", false),
            LambdaMinClipped = f.GetDouble("lambda_min_clipped", double.NegativeInfinity),
        };
        if (trained is not null && trained.Length != config.TrainSteps)
            throw new ModelFileException(f.Path, "trained_betas", $"expected {config.TrainSteps} numbers as num_train_timesteps says, found {trained.Length}");
        return config;
    }
}
