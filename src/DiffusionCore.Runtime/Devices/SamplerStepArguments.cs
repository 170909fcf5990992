namespace DiffusionCore.Runtime;

/// <summary>What a network predicts, for x = alpha*x0 + sigma*eps.</summary>
public enum Prediction
{
    /// <summary>eps.</summary>
    Epsilon,

    /// <summary>x0.</summary>
    Sample,

    /// <summary>alpha*eps - sigma*x0 (Salimans and Ho 2022).</summary>
    V,

    /// <summary>eps - x0 (rectified flow).</summary>
    Flow,
}

/// <summary>
/// One update of a batch of latents. The model's output is guided and turned into (denoised, eps); then
/// <c>next = X*x + D*denoised + E*eps + H1*h1 + H2*h2 + H3*h3 + N*noise</c>. Every input is read once and every output written once.
/// <see cref="Numbers"/>, <see cref="LangevinRatio"/> and <see cref="Known"/> are off by default; a device without them refuses an update that asks for them.
/// Latents are [image][element] in the layout of the plan (channels last).
/// </summary>
public struct SamplerStepArguments
{
    public int Images;

    /// <summary>Elements of one latent.</summary>
    public int Elements;

    public DeviceBuffer Sample;

    /// <summary>The network's output; with guidance the unconditional half comes first, then the conditional one.</summary>
    public DeviceBuffer Model;

    public bool Guided;

    public double GuidanceScale;

    /// <summary>
    /// Whether <see cref="Model"/> holds a third branch after the conditional one, and how far the prediction is led away from it:
    /// m + PerturbedScale*(c - p) (perturbed-attention and skip-layer guidance).
    /// </summary>
    public bool Perturbed;

    public double PerturbedScale;

    /// <summary>Share of the guided prediction that is brought to the conditional one's standard deviation over an image, 0 is off (Lin et al. 2024).</summary>
    public double Rescale;

    /// <summary>Adaptive projected guidance in place of u + g (c - u), on the denoised estimates; null for plain guidance. Needs <see cref="Guided"/>.</summary>
    public Projection? Projected;

    /// <summary>
    /// The running difference of projected guidance with momentum, read and written; null without momentum. A latent's size, and room for three more
    /// numbers per image, which are the device's own.
    /// </summary>
    public DeviceBuffer? Running;

    public Prediction Prediction;

    /// <summary>x = Alpha*x0 + Sigma*eps at this evaluation.</summary>
    public double Alpha, Sigma;

    /// <summary>How denoised and eps follow from the output where <see cref="Prediction"/>, Alpha and Sigma do not say it; <see cref="StepNumbers.Of(in SamplerStepArguments)"/> obeys it.</summary>
    public StepNumbers? Numbers;

    /// <summary>Denoised is clamped to +-Clip; infinity leaves it alone.</summary>
    public double Clip;

    /// <summary>Whether eps follows the clamped denoised.</summary>
    public bool ClipRederivesEpsilon;

    /// <summary>Fraction of |denoised| below the per-image threshold (dynamic thresholding, Saharia et al. 2022); 0 is off.</summary>
    public double ThresholdRatio;

    /// <summary>Upper bound of the dynamic threshold.</summary>
    public double ThresholdMaximum;

    public double X, D, E, H1, H2, H3, N;

    public DeviceBuffer? History1, History2, History3;

    public DeviceBuffer? Noise;

    /// <summary>Work space of a latent's size for thresholds and Langevin steps; where null, <see cref="DenoisedOut"/> serves.</summary>
    public DeviceBuffer? Work;

    /// <summary>
    /// Type of every latent (sample, histories, noise, results, known part); the network's output is F32 whatever it is. F64 where a device has it: the CPU.
    /// </summary>
    public DType State;

    /// <summary>With an F64 state: receives the new latent in F32, as the network reads it; null where nothing does.</summary>
    public DeviceBuffer? NextSingle;

    /// <summary>Receives the new latent; may be <see cref="Sample"/>.</summary>
    public DeviceBuffer Next;

    /// <summary>Receives the denoised estimate where not null.</summary>
    public DeviceBuffer? DenoisedOut;

    /// <summary>Receives eps where not null.</summary>
    public DeviceBuffer? EpsilonOut;

    /// <summary>Receives x as it was before the step where not null (solvers that evaluate more than once per step).</summary>
    public DeviceBuffer? SampleOut;

    /// <summary>Channels of a latent where the network also predicts the variance (2C outputs); 0 otherwise.</summary>
    public int VarianceChannels;

    /// <summary>log variance = v*MaxLog + (1-v)*MinLog with v = (output+1)/2; the noise factor N is then multiplied by its square root exp.</summary>
    public double VarianceMinLog, VarianceMaxLog;

    /// <summary>
    /// r of a Langevin step, 0 is off: with the norms |eps| and |noise| of each image, or their means over the batch, and a = 2*(r*|noise|/|eps|)^2, E is
    /// multiplied by a and N by sqrt(2a). Needs <see cref="DenoisedOut"/> as work space.
    /// </summary>
    public double LangevinRatio;

    /// <summary>Whether the norms of a Langevin step are means over the batch.</summary>
    public bool BatchNorms;

    /// <summary>An image of which a part is given, and the mask of that part (1 given, 0 not), both as the latents; null where nothing is.</summary>
    public DeviceBuffer? Known, Mask;

    /// <summary>After the update: next = (1 - mask)*next + mask*(KnownSignal*known + KnownNoise*noise).</summary>
    public double KnownSignal, KnownNoise;
}

/// <summary>Numbers of adaptive projected guidance (Sadat et al. 2025, algorithm 1) for an update.</summary>
/// <param name="Threshold">Largest norm of the difference over one image; 0 for none.</param>
/// <param name="Momentum">Of the running difference.</param>
/// <param name="Parallel">Share of the part along the conditional estimate.</param>
public readonly record struct Projection(double Threshold, double Momentum, double Parallel);
