using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <content>Reading a scheduler_config.json.</content>
public sealed partial record SchedulerConfig
{
    private static readonly (string Field, string Schedule)[] PlacedSchedules =
        [("use_karras_sigmas", "karras"), ("use_exponential_sigmas", "exponential"), ("use_beta_sigmas", "beta"), ("use_lu_lambdas", "lu")];

    /// <exception cref="ModelFileException">A field is of the wrong type, out of range or unknown.</exception>
    public static SchedulerConfig Read(ConfigFile f)
    {
        string name = f.GetString("_class_name", null);
        if (!Classes.Contains(name))
            throw new ModelFileException(f.Path, "_class_name", $"'{name}' is not supported{(Suggestion.Nearest(name, Classes) is { } near ? $"; did you mean '{near}'? Known" : "; known")}: {string.Join(", ", Classes)}");
        double[]? trained = f.GetOptionalDoubles("trained_betas");
        for (int i = 0; i < trained?.Length; i++) Between0And1(f, $"trained_betas[{i}]", trained[i]);
        var config = Solvers(f, Noise(f, name) with { TrainedBetas = trained });
        if (trained is not null && trained.Length != config.TrainSteps)
            throw new ModelFileException(f.Path, "trained_betas", $"expected {config.TrainSteps} numbers as num_train_timesteps says, found {trained.Length}");
        if (config is { SigmaMin: { } low, SigmaMax: { } high } && low >= high) throw new ModelFileException(f.Path, "sigma_min", FormattableString.Invariant($"expected less than sigma_max = {high}, found {low}"));
        if (f.Has("scale_factors")) throw new ModelFileException(f.Path, "scale_factors", "is not supported: the latents of a run keep their size");
        return config;
    }

    private static SchedulerConfig Noise(ConfigFile f, string name)
    {
        bool scaled = name is Lcm.Class or Tcd.Class or CogVideoX.DdimClass or CogVideoX.DpmClass;
        bool narrow = scaled || name is Heun.Class or Kdpm2.Class or Kdpm2.AncestralClass or DpmSolverSde.Class;
        bool flow = name is FlowMatch.EulerClass or FlowMatch.HeunClass or FlowMatch.LcmClass;
        return new SchedulerConfig
        {
            Path = f.Path,
            ClassName = name,
            TrainSteps = f.GetInt("num_train_timesteps", name switch { ConsistencyModel.Class => 40, ScoreSdeVe.Class => 2000, _ => 1000 }, 1, 1_000_000),
            BetaStart = Between0And1(f, "beta_start", f.GetDouble("beta_start", narrow ? 0.00085 : 0.0001)),
            BetaEnd = Between0And1(f, "beta_end", f.GetDouble("beta_end", narrow ? 0.012 : 0.02)),
            BetaSchedule = f.GetWord("beta_schedule", name == UnClip.Class ? "squaredcos_cap_v2" : scaled ? "scaled_linear" : "linear", NoiseSchedule.BetaSchedules),
            VarianceType = f.GetWord("variance_type", "fixed_small", "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"),
            ClipSample = f.Has("clip_sample") ? f.GetBool("clip_sample", null) : null,
            ClipRange = Positive(f, "clip_sample_range", 1),
            Prediction = f.GetWord("prediction_type", flow ? "flow_prediction" : "epsilon", "epsilon", "sample", "v_prediction", "flow_prediction") switch
            {
                "sample" => Prediction.Sample,
                "v_prediction" => Prediction.V,
                "flow_prediction" => Prediction.Flow,
                _ => Prediction.Epsilon,
            },
            Thresholding = f.GetBool("thresholding", false),
            ThresholdRatio = f.GetDouble("dynamic_thresholding_ratio", 0.995, 1e-6, 1),
            ThresholdMaximum = Positive(f, "sample_max_value", 1),
            Spacing = f.Has("timestep_spacing") ? f.GetWord("timestep_spacing", null, "leading", "linspace", "trailing") : null,
            StepsOffset = f.GetInt("steps_offset", 0, 0, 1000),
            ZeroTerminalSnr = f.GetBool("rescale_betas_zero_snr", false),
            SetAlphaToOne = f.Has("set_alpha_to_one") ? f.GetBool("set_alpha_to_one", null) : null,
            SigmaSchedule = Placed(f, name),
            SigmaMin = f.Has("sigma_min") ? Positive(f, "sigma_min", 0) : null,
            SigmaMax = f.Has("sigma_max") ? Positive(f, "sigma_max", 0) : null,
            LogLinearInterpolation = f.GetWord("interpolation_type", "linear", "linear", "log_linear") == "log_linear",
            ContinuousTimesteps = f.GetWord("timestep_type", "discrete", "discrete", "continuous") == "continuous",
            FinalSigmaZero = f.GetWord("final_sigmas_type", "zero", "zero", "sigma_min") == "zero",
        };
    }

    private static SchedulerConfig Solvers(ConfigFile f, SchedulerConfig noise)
    {
        int[] disabled = f.GetOptionalInts("disable_corrector", 0) ?? [];
        if (f.Has("solver_p")) throw new ModelFileException(f.Path, "solver_p", "is not supported: the predictor is UniPC's own");
        if (f.Has("tau_func")) throw new ModelFileException(f.Path, "tau_func", "is not supported: noise is injected between timesteps 200 and 800");
        return noise with
        {
            SolverOrder = f.GetInt("solver_order", 2, 1, 3),
            AlgorithmType = f.GetWord("algorithm_type", "dpmsolver++", "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis", "data_prediction", "noise_prediction"),
            SolverType = f.GetWord("solver_type", "midpoint", "midpoint", "heun", "logrho", "bh1", "bh2"),
            LowerOrderFinal = f.Has("lower_order_final") ? f.GetBool("lower_order_final", null) : null,
            EulerAtFinal = f.GetBool("euler_at_final", false),
            LambdaMinClipped = f.GetDouble("lambda_min_clipped", double.NegativeInfinity),
            PredictX0 = f.GetBool("predict_x0", true),
            DisableCorrector = disabled,
            PredictorOrder = f.GetInt("predictor_order", 2, 1, 4),
            CorrectorOrder = f.GetInt("corrector_order", 2, 1, 4),
            SkipRungeKutta = f.GetBool("skip_prk_steps", false),
            OriginalSteps = f.GetInt("original_inference_steps", 50, 1, noise.TrainSteps),
            TimestepScaling = Positive(f, "timestep_scaling", 10),
            SigmaData = Positive(f, "sigma_data", 0.5),
            Rho = Positive(f, "rho", 7),
            EdmSchedule = f.GetWord("sigma_schedule", "karras", "karras", "exponential"),
            NoiseScale = f.GetDouble("s_noise", 1, 0),
            ClipDenoised = f.GetBool("clip_denoised", true),
            FlowSigmas = f.GetBool("use_flow_sigmas", false),
            Shift = Positive(f, f.Has("flow_shift") ? "flow_shift" : "shift", 1),
            DynamicShift = f.GetBool("use_dynamic_shifting", false),
            TimeShiftType = f.GetWord("time_shift_type", "exponential", "exponential", "linear"),
            BaseShift = f.GetDouble("base_shift", 0.5),
            MaxShift = f.GetDouble("max_shift", 1.15),
            BaseTokens = f.GetInt("base_image_seq_len", 256),
            MaxTokens = f.GetInt("max_image_seq_len", 4096),
            ShiftTerminal = f.Has("shift_terminal") && f.GetDouble("shift_terminal", null, 0, 1) is var terminal && terminal is > 0 and < 1 ? terminal : null,
            InvertSigmas = f.GetBool("invert_sigmas", false),
            StochasticSampling = f.GetBool("stochastic_sampling", false),
            SnrShiftScale = Positive(f, "snr_shift_scale", 3),
            LangevinSnr = Positive(f, "snr", 0.15),
            SamplingEpsilon = Positive(f, "sampling_eps", 1e-5),
            CorrectSteps = f.GetInt("correct_steps", 1, 0),
            RePaintEta = f.GetDouble("eta", 0, 0, 1),
        };
    }

    private static string Placed(ConfigFile f, string name)
    {
        string schedule = "";
        foreach (var (field, value) in PlacedSchedules)
        {
            if (!f.GetBool(field, false)) continue;
            if (schedule.Length > 0) throw new ModelFileException(f.Path, field, $"cannot be combined with the {schedule} schedule");
            schedule = value;
        }

        // UniPC alone places flow levels by Karras et al.; the others would take levels above 1 for fractions of noise.
        if (schedule.Length > 0 && f.GetBool("use_flow_sigmas", false) && !(name == UniPc.Class && schedule == "karras"))
            throw new ModelFileException(f.Path, "use_flow_sigmas", $"cannot be combined with the {schedule} schedule");
        return schedule;
    }

    private static double Between0And1(ConfigFile f, string field, double value) =>
        value > 0 && value < 1 ? value : throw new ModelFileException(f.Path, field, FormattableString.Invariant($"expected a number between 0 and 1 (neither included), found {value}"));

    private static double Positive(ConfigFile f, string field, double fallback) =>
        f.GetDouble(field, fallback) is var value && value > 0 && double.IsFinite(value)
            ? value
            : throw new ModelFileException(f.Path, field, FormattableString.Invariant($"expected a positive number, found {value}"));
}
