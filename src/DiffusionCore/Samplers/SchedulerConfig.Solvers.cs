namespace DiffusionCore.Samplers;

/// <content>Fields of the solvers and of the families without betas: EDM, consistency models, rectified flow, score SDE.</content>
public sealed partial record SchedulerConfig
{
    /// <summary>1 to 3: DPM-Solver, DEIS, UniPC.</summary>
    public int SolverOrder { get; init; } = 2;

    /// <summary>dpmsolver, dpmsolver++, sde-dpmsolver, sde-dpmsolver++, or another multistep class's word (deis, data_prediction, noise_prediction).</summary>
    public string AlgorithmType { get; init; } = "dpmsolver++";

    /// <summary>midpoint or heun (DPM-Solver), bh1 or bh2 (UniPC), logrho (DEIS); a class that does not know the word takes its own default.</summary>
    public string SolverType { get; init; } = "midpoint";

    /// <summary>Null for the class's own: the singlestep class does not.</summary>
    public bool? LowerOrderFinal { get; init; }

    public bool EulerAtFinal { get; init; }

    public double LambdaMinClipped { get; init; } = double.NegativeInfinity;

    /// <summary>UniPC: whether the extrapolated quantity is denoised (else eps).</summary>
    public bool PredictX0 { get; init; } = true;

    /// <summary>UniPC: steps whose result is not corrected.</summary>
    public int[] DisableCorrector { get; init; } = [];

    /// <summary>SA-Solver: 1 to 4.</summary>
    public int PredictorOrder { get; init; } = 2;

    /// <summary>SA-Solver: 1 to 4.</summary>
    public int CorrectorOrder { get; init; } = 2;

    /// <summary>PNDM: linear multistep from the first step on (PLMS) instead of three Runge-Kutta steps.</summary>
    public bool SkipRungeKutta { get; init; }

    /// <summary>LCM and TCD: steps of the distillation, on which theirs lie.</summary>
    public int OriginalSteps { get; init; } = 50;

    /// <summary>LCM: factor of the time in the boundary condition.</summary>
    public double TimestepScaling { get; init; } = 10;

    /// <summary>EDM and consistency models: standard deviation of the data.</summary>
    public double SigmaData { get; init; } = 0.5;

    /// <summary>EDM and consistency models: exponent of the noise levels.</summary>
    public double Rho { get; init; } = 7;

    /// <summary>EDM: karras or exponential.</summary>
    public string EdmSchedule { get; init; } = "karras";

    /// <summary>Consistency models: factor of the noise.</summary>
    public double NoiseScale { get; init; } = 1;

    /// <summary>Consistency models: whether the estimate is clamped to +-1.</summary>
    public bool ClipDenoised { get; init; } = true;

    /// <summary>Levels of rectified flow, x = (1 - s)*x0 + s*eps, for solvers that also know others.</summary>
    public bool FlowSigmas { get; init; }

    /// <summary>Shift of the levels of rectified flow (Esser et al. 2024, section 5.3.2): s' = shift*s/(1 + (shift - 1)*s).</summary>
    public double Shift { get; init; } = 1;

    /// <summary>Whether the shift follows from the number of image tokens.</summary>
    public bool DynamicShift { get; init; }

    /// <summary>exponential or linear: the way of the dynamic shift.</summary>
    public string TimeShiftType { get; init; } = "exponential";

    /// <summary>Dynamic shift of the least and the largest number of image tokens.</summary>
    public double BaseShift { get; init; } = 0.5;

    public double MaxShift { get; init; } = 1.15;

    public int BaseTokens { get; init; } = 256;

    public int MaxTokens { get; init; } = 4096;

    /// <summary>Where the last shifted level is stretched to; null leaves it.</summary>
    public double? ShiftTerminal { get; init; }

    /// <summary>Rectified flow from data to noise.</summary>
    public bool InvertSigmas { get; init; }

    /// <summary>Rectified flow that draws the noise anew at each step.</summary>
    public bool StochasticSampling { get; init; }

    /// <summary>CogVideoX: factor by which the signal-to-noise ratio is lowered.</summary>
    public double SnrShiftScale { get; init; } = 3;

    /// <summary>Score SDE: signal-to-noise ratio of the Langevin corrector.</summary>
    public double LangevinSnr { get; init; } = 0.15;

    /// <summary>Score SDE: the time at which sampling ends.</summary>
    public double SamplingEpsilon { get; init; } = 1e-5;

    /// <summary>Score SDE: Langevin steps at each level.</summary>
    public int CorrectSteps { get; init; } = 1;

    /// <summary>RePaint: as DDIM's eta.</summary>
    public double RePaintEta { get; init; }

    /// <summary>Whether second differences are weighted by their exact integrals instead of those of the midpoint method.</summary>
    internal bool HeunCorrection => SolverType == "heun";
}
