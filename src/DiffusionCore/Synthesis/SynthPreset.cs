using System.Text.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Synthesis;

/// <summary>A network of a synthetic model.</summary>
/// <param name="Folder">Its folder, which is its name in model_index.json.</param>
/// <param name="Config">Writes the fields of config.json.</param>
public sealed record SynthComponent(string Folder, string Library, string Class, Action<Utf8JsonWriter> Config, IReadOnlyList<TensorPlan> Tensors)
{
    /// <summary>Without suffix; each library has its own.</summary>
    public string WeightsName => Library == "transformers" ? "model" : "diffusion_pytorch_model";

    public long Parameters => Tensors.Sum(t => t.Count);
}

/// <summary>A tokenizer of a synthetic model.</summary>
/// <param name="Vocabulary">Tokens in all.</param>
/// <param name="PadsWithEnd">Padding with the end token (CLIP ViT-L) or with id 0 (OpenCLIP).</param>
public sealed record SynthTokenizer(string Folder, int Vocabulary, bool PadsWithEnd);

/// <summary>
/// Models with the sizes of well-known ones and weights that mean nothing: for measuring speed and memory, and for tests, where the real
/// weights are not at hand.
/// </summary>
public sealed record SynthPreset
{
    private const int ClipVocabulary = 49408, TinyVocabulary = 1024, ImageNetClasses = 1000;

    private const double Sd1Scaling = 0.18215, SdxlScaling = 0.13025;

    private static readonly AutoencoderPlan Sd1Autoencoder = new([128, 256, 512, 512], 2, Sd1Scaling, 512);
    private static readonly AutoencoderPlan TinyAutoencoder = new([32, 32, 32, 32], 1, Sd1Scaling, 64);

    private static readonly UNetPlan
        Sd1UNet = new([320, 640, 1280, 1280], 2, [1, 1, 1, 0], [8, 8, 8, 8], 768, false, 0, 64),
        Sd2UNet = Sd1UNet with { Heads = [5, 10, 20, 20], Context = 1024, LinearProjection = true, SampleSize = 96 },
        SdxlUNet = new([320, 640, 1280], 2, [0, 2, 10], [5, 10, 20], 2048, true, 2816, 128),
        TinyUNet = new([32, 64], 1, [1, 0], [8, 8], 64, false, 0, 8);

    private static readonly ClipTextPlan
        ClipL = new(768, 12, 12, 3072, "quick_gelu", 768, false, ClipVocabulary),
        ClipH = new(1024, 23, 16, 4096, "gelu", 512, false, ClipVocabulary),
        ClipG = new(1280, 32, 20, 5120, "gelu", 1280, true, ClipVocabulary),
        TinyClip = new(64, 2, 1, 128, "quick_gelu", 64, false, TinyVocabulary);

    /// <summary>Three of Stable Diffusion, a diffusion transformer, and tiny ones of the same shapes for tests.</summary>
    private static readonly IReadOnlyList<SynthPreset> Diffusers =
    [
        Sd("sd15", Sd1UNet, Sd1Autoencoder, ClipL, Schedule("PNDMScheduler", "epsilon"), padsWithEnd: true),
        Sd("sd21", Sd2UNet, Sd1Autoencoder with { SampleSize = 768 }, ClipH, Schedule("DDIMScheduler", "v_prediction"), padsWithEnd: false),
        Sdxl("sdxl", SdxlUNet, Sd1Autoencoder with { ScalingFactor = SdxlScaling, SampleSize = 1024 }, ClipL, ClipG),
        Dit("dit-xl2", new DitPlan(16, 72, 28, 2, ImageNetClasses, 32), Sd1Autoencoder with { SampleSize = 256 }),
        Sd("sd-tiny", TinyUNet, TinyAutoencoder, TinyClip, Schedule("PNDMScheduler", "epsilon"), padsWithEnd: true),
        Sd("sd2-tiny", TinyUNet with { Widths = [64, 128], Heads = [1, 2], LinearProjection = true, Context = 128 }, TinyAutoencoder, TinyClip with { Width = 128, Heads = 2, Activation = "gelu" }, Schedule("DDIMScheduler", "v_prediction"), padsWithEnd: false),
        Sdxl("sdxl-tiny", TinyUNet with { Widths = [64, 128], Depths = [0, 2], Heads = [1, 2], LinearProjection = true, Context = 192, Added = 128 + (6 * 256) }, TinyAutoencoder with { ScalingFactor = SdxlScaling }, TinyClip, TinyClip with { Width = 128, Heads = 2, Activation = "gelu", Projection = 128, Projected = true }),
        Dit("dit-tiny", new DitPlan(4, 16, 2, 2, 10, 8), TinyAutoencoder),
    ];

    // Made when they are asked for: their tensors are those of a network that is built for it.
    private static readonly Dictionary<string, string> Latent = LatentPresets.All().ToDictionary(p => p.Name, p => p.Config, StringComparer.Ordinal);

    public static IReadOnlyList<string> Names => [.. Diffusers.Select(p => p.Name), .. Latent.Keys];

    /// <summary>All of them: those in diffusers' layout, then latent diffusion and Frido by the authors' names.</summary>
    public static IReadOnlyList<SynthPreset> All => [.. Names.Select(Find)];

    public required string Name { get; init; }

    /// <summary>The pipeline's class.</summary>
    public required string Pipeline { get; init; }

    public required IReadOnlyList<SynthComponent> Components { get; init; }

    public required IReadOnlyList<SynthTokenizer> Tokenizers { get; init; }

    /// <summary>Writes the fields of scheduler_config.json.</summary>
    public required Action<Utf8JsonWriter> Scheduler { get; init; }

    public required string SchedulerClass { get; init; }

    /// <summary>Writes the pipeline's settings into model_index.json.</summary>
    public Action<Utf8JsonWriter> Settings { get; init; } = _ => { };

    /// <summary>config.json of a model by its authors' names, whose weights are one file; null for a diffusers folder.</summary>
    public string? Whole { get; init; }

    /// <summary>Tokens of a WordPiece vocabulary beside it; 0 for none.</summary>
    public int WordPieces { get; init; }

    public long Parameters => Components.Sum(c => c.Parameters);

    /// <exception cref="UsageException">There is none of that name.</exception>
    public static SynthPreset Find(string name) =>
        Latent.TryGetValue(name, out string? config) ? LatentPlan.Preset(name, config) : Diffusers.FirstOrDefault(p => p.Name == name) ?? throw new UsageException($"there is no synthetic model '{name}'{Suggestion.Hint(name, Names)}");

    private static SynthPreset Sd(string name, UNetPlan unet, AutoencoderPlan vae, ClipTextPlan text, (string Class, Action<Utf8JsonWriter> Write) scheduler, bool padsWithEnd) => new()
    {
        Name = name,
        Pipeline = "StableDiffusionPipeline",
        Components = [Unet(unet), Vae(vae), Text("text_encoder", text)],
        Tokenizers = [new("tokenizer", text.Vocabulary, padsWithEnd)],
        SchedulerClass = scheduler.Class,
        Scheduler = scheduler.Write,
        Settings = w => w.WriteBoolean("requires_safety_checker", false),
    };

    private static SynthPreset Sdxl(string name, UNetPlan unet, AutoencoderPlan vae, ClipTextPlan first, ClipTextPlan second) => new()
    {
        Name = name,
        Pipeline = "StableDiffusionXLPipeline",
        Components = [Unet(unet), Vae(vae), Text("text_encoder", first), Text("text_encoder_2", second)],
        Tokenizers = [new("tokenizer", first.Vocabulary, true), new("tokenizer_2", second.Vocabulary, false)],
        SchedulerClass = "EulerDiscreteScheduler",
        Scheduler = Schedule("EulerDiscreteScheduler", "epsilon").Write,
        Settings = w => w.WriteBoolean("force_zeros_for_empty_prompt", true),
    };

    private static SynthPreset Dit(string name, DitPlan transformer, AutoencoderPlan vae) => new()
    {
        Name = name,
        Pipeline = "DiTPipeline",
        Components = [new("transformer", "diffusers", "DiTTransformer2DModel", transformer.Config, transformer.Tensors()), Vae(vae)],
        Tokenizers = [],
        SchedulerClass = "DDIMScheduler",
        Scheduler = w =>
        {
            w.WriteNumber("num_train_timesteps", 1000);
            w.WriteNumber("beta_start", 0.0001);
            w.WriteNumber("beta_end", 0.02);
            w.WriteString("beta_schedule", "linear");
            w.WriteString("prediction_type", "epsilon");
            w.WriteBoolean("clip_sample", false);
        },
    };

    private static SynthComponent Unet(UNetPlan p) => new("unet", "diffusers", "UNet2DConditionModel", p.Config, p.Tensors());

    private static SynthComponent Vae(AutoencoderPlan p) => new("vae", "diffusers", "AutoencoderKL", p.Config, p.Tensors());

    private static SynthComponent Text(string folder, ClipTextPlan p) => new(folder, "transformers", p.Class, p.Config, p.Tensors());

    private static (string Class, Action<Utf8JsonWriter> Write) Schedule(string name, string prediction) => (name, w => WriteSchedule(w, name, prediction));

    // The schedule that all of Stable Diffusion was trained with (Rombach et al. 2022).
    private static void WriteSchedule(Utf8JsonWriter w, string name, string prediction)
    {
        w.WriteNumber("num_train_timesteps", 1000);
        w.WriteNumber("beta_start", 0.00085);
        w.WriteNumber("beta_end", 0.012);
        w.WriteString("beta_schedule", "scaled_linear");
        w.WriteString("prediction_type", prediction);
        w.WriteString("timestep_spacing", "leading");
        w.WriteNumber("steps_offset", 1);
        w.WriteBoolean("set_alpha_to_one", false);
        w.WriteBoolean("clip_sample", false);
        w.WriteBoolean("skip_prk_steps", true);
    }
}
