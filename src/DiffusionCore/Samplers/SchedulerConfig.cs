using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// The fields of a scheduler_config.json, checked. Any sampler can be named for a file: it takes the betas and the prediction type, and what
/// the file leaves open is the sampler's own way. Here are the fields of the noise; SchedulerConfig.Solvers.cs has those of the solvers.
/// </summary>
public sealed partial record SchedulerConfig
{
    /// <summary>Classes that can be sampled as the file says.</summary>
    public static readonly string[] Classes = [.. Sampler.ClassNames];

    /// <summary>The file, for errors; empty where the configuration was made in code.</summary>
    public string Path { get; init; } = "";

    public string ClassName { get; init; } = Ddpm.Class;

    public int TrainSteps { get; init; } = 1000;

    public double BetaStart { get; init; } = 0.0001;

    public double BetaEnd { get; init; } = 0.02;

    public string BetaSchedule { get; init; } = "linear";

    public double[]? TrainedBetas { get; init; }

    public string VarianceType { get; init; } = "fixed_small";

    /// <summary>Null for the class's own way: DDPM, DDIM, UnCLIP and RePaint clip.</summary>
    public bool? ClipSample { get; init; }

    public double ClipRange { get; init; } = 1;

    public Prediction Prediction { get; init; }

    public bool Thresholding { get; init; }

    public double ThresholdRatio { get; init; } = 0.995;

    public double ThresholdMaximum { get; init; } = 1;

    /// <summary>leading, linspace or trailing (Lin et al. 2024, table 2); null for the class's own: leading for those on training steps, else linspace.</summary>
    public string? Spacing { get; init; }

    public int StepsOffset { get; init; }

    public bool ZeroTerminalSnr { get; init; }

    /// <summary>Whether the step after the last lands on alpha-bar 1 instead of the first training step's; null for the class's own: PNDM does not.</summary>
    public bool? SetAlphaToOne { get; init; }

    /// <summary>karras, exponential, beta, lu, or empty for the schedule of the training.</summary>
    public string SigmaSchedule { get; init; } = "";

    public double? SigmaMin { get; init; }

    public double? SigmaMax { get; init; }

    public bool LogLinearInterpolation { get; init; }

    public bool ContinuousTimesteps { get; init; }

    public bool FinalSigmaZero { get; init; } = true;

    /// <summary>The same model sampled with a class: what the file leaves open is that class's own.</summary>
    internal SchedulerConfig For(string className)
    {
        bool onTimesteps = className is Ddpm.Class or Ddim.Class or DdimInverse.Class or Pndm.Class or Lcm.Class or Tcd.Class or CogVideoX.DdimClass or CogVideoX.DpmClass;
        bool clips = className is Ddpm.Class or Ddim.Class or DdimInverse.Class or UnClip.Class or RePaint.Class;
        return this with
        {
            ClassName = className,
            Spacing = Spacing ?? (onTimesteps ? "leading" : "linspace"),
            ClipSample = ClipSample ?? clips,
            SetAlphaToOne = SetAlphaToOne ?? className != Pndm.Class,
            LowerOrderFinal = LowerOrderFinal ?? className != DpmSolverSinglestep.Class,
        };
    }

    /// <summary>An error about a field: of the file where there is one, else of the caller.</summary>
    internal DiffusionCoreException Problem(string field, string problem) =>
        Path.Length > 0 ? new ModelFileException(Path, field, problem) : new UsageException($"{field}: {problem}");
}
