using DiffusionCore.Guidance;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;
using DiffusionCore.Text;

namespace DiffusionCore.Pipelines;

/// <summary>What images to make.</summary>
public sealed record GenerateRequest
{
    public const int MaximumCount = 100_000;

    public int Count { get; init; } = 1;

    /// <summary>Images per pass of the network; 0 chooses. It changes speed and memory, never a pixel.</summary>
    public int Batch { get; init; }

    /// <summary>Seed of the first image; image i has Seed + i, whatever the batch.</summary>
    public ulong Seed { get; init; }

    /// <summary>Whose random numbers, of which type, and what a seed stands for.</summary>
    public NoiseSettings Noise { get; init; } = new();

    /// <summary>Null for the images' own noise.</summary>
    public Variation? Variation { get; init; }

    /// <summary>The text of a text model; every image has the same.</summary>
    public string Prompt { get; init; } = "";

    /// <summary>What guidance leads away from; null for nothing in particular.</summary>
    public string? Negative { get; init; }

    /// <summary>Whether prompts are taken as they stand, or with weights and breaks.</summary>
    public PromptSyntax PromptSyntax { get; init; }

    /// <summary>An image to start from.</summary>
    public SourceImage? Init { get; init; }

    /// <summary>
    /// What a network that raises the resolution reads: one image in [0, 1] for all, or one for each; the size that is made, divided by a whole number.
    /// Empty for the images of a cascade's former stage.
    /// </summary>
    public IReadOnlyList<SourceImage> SmallImages { get; init; } = [];

    /// <summary>The training step whose noise is added to the small image, for networks that are told it; null for the model's own, or none.</summary>
    public int? NoiseLevel { get; init; }

    /// <summary>How much of the schedule an image is taken back: 1 is all of it, and nothing of the image stays.</summary>
    public double Strength { get; init; } = 0.75;

    /// <summary>One channel in [0, 1] of the image's size: 1 is made anew, 0 stays.</summary>
    public SourceImage? Mask { get; init; }

    /// <summary>One hint per ControlNet that the model was loaded with, in [0, 1].</summary>
    public IReadOnlyList<SourceImage> Hints { get; init; } = [];

    /// <summary>Multiplies what the ControlNets add.</summary>
    public double ControlScale { get; init; } = 1;

    /// <summary>Objects and where they are, for a model that reads layouts or labels; null for none.</summary>
    public IReadOnlyList<LayoutObject>? Layout { get; init; }

    /// <summary>The small image of a super-resolution model: a pixel of it for each pixel of the latent.</summary>
    public SourceImage? LowResolution { get; init; }

    /// <summary>Conditions as numbers of tokens, in place of a text or a layout (models with a BERT encoder): images take them in turn.</summary>
    public IReadOnlyList<int[]> Tokens { get; init; } = [];

    /// <summary>What guidance leads away from where <see cref="Tokens"/> are given; empty for vectors of zeros.</summary>
    public IReadOnlyList<int[]> NegativeTokens { get; init; } = [];

    /// <summary>
    /// The finished coarsest level of a pyramid, [h, w, channels] per image in turn, such as another generator's: its stage is left out and nothing of it is
    /// changed. Empty for none.
    /// </summary>
    public IReadOnlyList<float[]> CoarseLatents { get; init; } = [];

    /// <summary>Class numbers that the images take in turn; empty for none.</summary>
    public IReadOnlyList<int> Classes { get; init; } = [];

    /// <summary>
    /// Classifier-free guidance (Ho and Salimans 2022): 1 is the conditional prediction alone. Text models take what is not above 1 as that too, as
    /// diffusers does; where the network embeds the weight (latent consistency models) it is told instead.
    /// </summary>
    public double Guidance { get; init; } = 1;

    /// <summary>Noise levels (sigma) between which guidance is on; null for all.</summary>
    public (double Low, double High)? GuidanceInterval { get; init; }

    /// <summary>Guidance beyond one scale: by step, rescaled, projected, perturbed, with thresholds. Its scale and interval are those above.</summary>
    public GuidanceOptions Forms { get; init; } = new();

    /// <summary>All of guidance together.</summary>
    public GuidanceOptions AllGuidance => Forms with { Scale = Guidance, Interval = GuidanceInterval };

    /// <summary>Type of the latents between steps: F32, or F64 on the CPU.</summary>
    public DType State { get; init; } = DType.F32;

    /// <summary>
    /// Scale of a classifier's gradient (Dhariwal and Nichol 2021), which then leads to the classes in place of the network's own condition: a network with a
    /// null class is told that one. 0 leads nowhere. Null for the network's own condition.
    /// </summary>
    public double? ClassifierGuidance { get; init; }

    /// <summary>Null for the size that the network was trained at.</summary>
    public int? Width { get; init; }

    public int? Height { get; init; }

    public string? Sampler { get; init; }

    public string? Schedule { get; init; }

    public SamplerOptions Options { get; init; } = new();

    /// <summary>What is left out to be faster; nothing by default.</summary>
    public ShortcutOptions Shortcuts { get; init; } = new();

    /// <summary>
    /// The text encoder's layer whose state is read, counted from the last, as stable-diffusion-webui counts: 1 is the last, 2 the one before. Null for
    /// the model's own: 1, and 2 for SDXL.
    /// </summary>
    public int? ClipSkip { get; init; }

    /// <summary>A second pass at a higher resolution; null for none.</summary>
    public HiresOptions? Hires { get; init; }

    /// <summary>Pictures while the images are made; null for none. They change no byte of the images.</summary>
    public PreviewOptions? Preview { get; init; }

    /// <summary>Whether latents are decoded in tiles: less memory, more time.</summary>
    public bool Tiled { get; init; }

    /// <summary>
    /// Bytes that the whole process may take; null for what the device has. Below what the request needs at once, parts of the model are given back
    /// between its phases, batches are split, latents are decoded in tiles, and weights are read from their files as they are needed, each of which is
    /// said; only tiles change the images. On a device with memory of its own: bytes there.
    /// </summary>
    public long? MemoryLimit { get; init; }
}

/// <summary>Pixels given by the caller: rows of interleaved channels.</summary>
/// <param name="Values">Height * Width * Channels numbers, in [0, 1].</param>
public sealed record SourceImage(int Width, int Height, int Channels, float[] Values);

/// <summary>A finished image. Pixels are rows of interleaved channels, 8 bits each.</summary>
public sealed record GeneratedImage(int Index, ulong Seed, int? Class, int Width, int Height, int Channels, byte[] Pixels);

/// <summary>Where a run stands.</summary>
/// <param name="FirstImage">Index of the batch's first image.</param>
public readonly record struct GenerateProgress(int FirstImage, int BatchImages, int TotalImages, int Evaluation, int Evaluations, TimeSpan EvaluationTime);
