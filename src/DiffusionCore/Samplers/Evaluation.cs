using DiffusionCore.Guidance;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>What a history slot receives.</summary>
public enum Kept
{
    None,
    Denoised,
    Epsilon,

    /// <summary>The latent as it was before the update.</summary>
    Sample,
}

/// <summary>A former value in an update: coefficient times the content of a slot.</summary>
public readonly record struct HistoryTerm(int Slot, double Coefficient);

/// <summary>
/// One evaluation of the network and the update that follows it, as numbers.
/// <code>
/// m    = network(InputScale * x, Time)                     x = Alpha*x0 + Sigma*eps
/// x0   = from m by the prediction type; clipped; eps likewise
/// x    = X*x + D*x0 + E*eps + sum of History + N*noise      noise is drawn where DrawsNoise says
/// x    = (1 - mask)*x + mask*(signal*known + noise level*noise)    where Known says, for the part of an image that is given
/// slot = Keep                                              written after History was read; with a threshold, a slot that History does not name
/// </code>
/// A solver with several evaluations per step is several of these; what it needs from the first (the latent, a derivative) it keeps in slots.
/// One without a network moves latents and slots alone: noise between steps, the way back from a step that was too long.
/// </summary>
public sealed record Evaluation
{
    private readonly bool drawsNoise;

    /// <summary>The time that the network is told.</summary>
    public required double Time { get; init; }

    public double InputScale { get; init; } = 1;

    public required double Alpha { get; init; }

    public required double Sigma { get; init; }

    /// <summary>The noise level that the network sees, sigma/alpha.</summary>
    public double Level => Alpha == 0 ? double.PositiveInfinity : Sigma / Alpha;

    public double X { get; init; }

    public double D { get; init; }

    public double E { get; init; }

    public double N { get; init; }

    public IReadOnlyList<HistoryTerm> History { get; init; } = [];

    public Kept Keep { get; init; }

    public int KeepSlot { get; init; }

    /// <summary>Slot that receives the latent as it was before the update, beside what Keep names; -1 where none does.</summary>
    public int SampleSlot { get; init; } = -1;

    /// <summary>The slot that receives the result in place of the latent; the latent itself where null.</summary>
    public int? Target { get; init; }

    /// <summary>Whether the network is evaluated. Where not, D and E are 0: noise between steps, the way back from a step that was too long.</summary>
    public bool Evaluates { get; init; } = true;

    /// <summary>Without an evaluation: whether the network's last output is read again, with the latent as it was there. D and E may differ from 0 then.</summary>
    public bool Rereads { get; init; }

    /// <summary>The guidance scale of this evaluation is Factor * scale + Offset; (0, 0) reads the unconditional branch alone. Null for the scale itself.</summary>
    public GuidanceRule? Guidance { get; init; }

    /// <summary>How far this evaluation is led away from the perturbed branch; null for the plan's own scale, where it has one.</summary>
    public double? PerturbedScale { get; init; }

    /// <summary>
    /// The noise is the increment of one Brownian path between these noise levels, over the root of their distance; null for noise of its own.
    /// </summary>
    public (double From, double To)? NoiseInterval { get; init; }

    /// <summary>What to measure after the update, for runs that decide by it.</summary>
    public Measure? Measure { get; init; }

    /// <summary>How x0 and eps follow from the network's output where the plan's prediction type does not say it (preconditioned networks, scores); null where it does.</summary>
    public StepNumbers? Reading { get; init; }

    /// <summary>
    /// Signal-to-noise ratio r of a Langevin step, or 0. With the norms |eps| and |noise| (of each image, or their mean over the batch, see
    /// <see cref="SamplerPlan.BatchNorms"/>) and a = 2*(r*|noise|/|eps|)^2, E is multiplied by a and N by sqrt(2a).
    /// </summary>
    public double LangevinRatio { get; init; }

    /// <summary>Draws of noise that go unused before the one that N multiplies: a generator must move on as in the codes that draw so.</summary>
    public int UnusedDraws { get; init; }

    /// <summary>Levels of the given part of an image after the update, signal*known + noise level*noise with the update's own noise; null where nothing is given.</summary>
    public (double Signal, double Noise)? Known { get; init; }

    /// <summary>log of the least and the largest variance where the network predicts it in between; N is then 1.</summary>
    public (double Minimum, double Maximum)? LearnedVariance { get; init; }

    /// <summary>
    /// log of the least and the largest variance by which a classifier's gradient moves the mean, at the last step too (Dhariwal and Nichol 2021, algorithm 1);
    /// null where it moves eps (algorithm 2).
    /// </summary>
    public (double Minimum, double Maximum)? MeanVariance { get; init; }

    /// <summary>
    /// Whether noise is drawn. Always where N is not 0; some solvers draw every step whatever N, and a generator that serves several runs must
    /// then move on as theirs does.
    /// </summary>
    public bool DrawsNoise { get => drawsNoise || N != 0 || Known is not null; init => drawsNoise = value; }

    /// <summary>Which step of the schedule this belongs to, from 0.</summary>
    public int Step { get; init; }
}

/// <summary>A change of the guidance scale: w' = Factor*w + Offset.</summary>
public readonly record struct GuidanceRule(double Factor, double Offset)
{
    public double Of(double scale) => Factor * scale + Offset;
}

/// <summary>A whole run as numbers: evaluations in order, and how the noise starts.</summary>
public sealed record SamplerPlan
{
    public required string Name { get; init; }

    public required Prediction Prediction { get; init; }

    /// <summary>Standard deviation of the first latent.</summary>
    public double InitialSigma { get; init; } = 1;

    /// <summary>Empty where <see cref="Adaptive"/> decides as it goes.</summary>
    public required IReadOnlyList<Evaluation> Evaluations { get; init; }

    /// <summary>Starts a run whose evaluations follow from what the former ones measured; null for a fixed list.</summary>
    public Func<ISamplerRun>? Adaptive { get; init; }

    /// <summary>History slots that the driver must provide.</summary>
    public int Slots { get; init; }

    /// <summary>Steps of the schedule; a step may take several evaluations.</summary>
    public required int Steps { get; init; }

    /// <summary>The denoised estimate is clamped to +-Clip; infinity where it is not.</summary>
    public double Clip { get; init; } = double.PositiveInfinity;

    public bool ClipRederivesEpsilon { get; init; }

    /// <summary>0 where dynamic thresholding is off.</summary>
    public double ThresholdRatio { get; init; }

    public double ThresholdMaximum { get; init; } = 1;

    /// <summary>Whether the norms of a Langevin step are means over the batch, as in the published code, so that its images depend on each other.</summary>
    public bool BatchNorms { get; init; }

    /// <summary>Whether the run needs the network's unconditional answer whatever the guidance scale.</summary>
    public bool NeedsUnconditional { get; init; }

    /// <summary>Whether the run's own updates put both branches of guidance together, each in its place (CFG++).</summary>
    public bool CombinesBranches { get; init; }

    /// <summary>How the branches of guidance are put together beyond u + w(c - u); null for that.</summary>
    public GuidanceForm? Form { get; init; }

    /// <summary>Whether the run fills the missing part of an image.</summary>
    public bool Fills => Evaluations.Any(e => e.Known is not null);

    public bool Clips => ThresholdRatio > 0 || !double.IsPositiveInfinity(Clip);

    /// <summary>Timesteps of the schedule, first step first (one per evaluation where a solver repeats them).</summary>
    public required double[] Timesteps { get; init; }

    /// <summary>Noise levels sigma/alpha with the final one; null for samplers that work on timesteps alone.</summary>
    public double[]? Sigmas { get; init; }

    /// <summary>The run as a sequence that a driver pulls, fixed or adaptive.</summary>
    public ISamplerRun Start() => Adaptive?.Invoke() ?? new FixedRun(Evaluations);
}
