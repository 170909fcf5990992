using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Text;
using DiffusionCore.Weights;
using DiffusionCore.Weights.SingleFile;

namespace DiffusionCore.Pipelines;

/// <summary>What to load beside or instead of a model's own parts.</summary>
public sealed record ModelOptions
{
    /// <summary>Weights variant, such as fp16.</summary>
    public string? Variant { get; init; }

    /// <summary>Whether to look for NaN and infinity in the weights.</summary>
    public bool CheckFinite { get; init; }

    /// <summary>A tokenizer's folder, for a model that has none of its own.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>epsilon or v_prediction, for a single file that does not tell.</summary>
    public string? Prediction { get; init; }

    /// <summary>A first stage's folder in place of the model's own, such as a tiny autoencoder.</summary>
    public string? FirstStage { get; init; }

    /// <summary>A tiny autoencoder's folder for previews; null for one that lies in the model's folder under a usual name.</summary>
    public string? PreviewStage { get; init; }

    /// <summary>Whether to load a tiny autoencoder for previews where there is one.</summary>
    public bool Previews { get; init; }

    /// <summary>LoRA files to merge into the weights, each with a strength behind a colon where it is not 1.</summary>
    public IReadOnlyList<string> Loras { get; init; } = [];

    /// <summary>A classifier's folder, for guidance by its gradient.</summary>
    public string? Classifier { get; init; }

    /// <summary>Folders of ControlNets.</summary>
    public IReadOnlyList<string> ControlNets { get; init; } = [];
}

/// <summary>
/// A model that makes images: a diffusers model folder (model_index.json and a folder per component), the folder of a U-Net alone, a single
/// file of Stable Diffusion, or a folder of latent diffusion or Frido by the authors' names (config.json and one file of weights). Its parts are a denoiser and a scheduler, and for latent models a first stage, for text models text encoders.
/// </summary>
public sealed partial class ModelFolder : IDisposable
{
    private const string SchedulerFile = "scheduler_config.json";

    // Pipelines whose parts and loop are those below. What a class adds to them (an image to start from, a mask, a ControlNet) is the request's.
    private static readonly string[] Pipelines =
    [
        "DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "ScoreSdeVePipeline", "LDMPipeline", "DiTPipeline", "LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline",
        "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionControlNetPipeline",
        "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline", "StableDiffusionXLControlNetPipeline",
    ];

    private readonly List<Component> components = [];
    private SingleFileModel? singleFile;
    private LoraSet? loras;

    private ModelFolder(string path)
    {
        Path = path;
    }

    public string Path { get; }

    /// <summary>The folder's own name, for people.</summary>
    public string Name => System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(Path)));

    /// <summary>The component that predicts the noise.</summary>
    public Component Network { get; private set; } = null!;

    public IDenoiser Denoiser { get; private set; } = null!;

    public SchedulerConfig Scheduler { get; private set; } = new() { ClipSample = true };

    /// <summary>Null where the network is not conditioned on classes.</summary>
    public ClassNames? Classes { get; private set; }

    /// <summary>Null where the network works on pixels.</summary>
    public IFirstStage? FirstStage { get; private set; }

    /// <summary>The tiny autoencoder of previews; null where there is none, or where <see cref="ModelOptions.Previews"/> did not ask for it.</summary>
    public IFirstStage? PreviewStage { get; private set; }

    /// <summary>Its folder.</summary>
    public string? PreviewStagePath { get; private set; }

    /// <summary>Whether a text is needed.</summary>
    public bool TakesText => TextEncoders.Count > 0 || ConditionKind == ConditionKind.Text;

    /// <summary>Pixels of the image per pixel of the latent, along one axis.</summary>
    public int Factor => FirstStage?.Factor ?? 1;

    /// <summary>Pixels as the model has them, in [-1, 1] or [0, 1], as bytes: to the nearest, halves to even as the peers round.</summary>
    internal byte[] Bytes(ReadOnlySpan<float> image)
    {
        bool unit = Own is { UnitRange: true };
        var bytes = new byte[image.Length];
        for (int i = 0; i < bytes.Length; i++) bytes[i] = (byte)Math.Round(Math.Clamp(unit ? image[i] : image[i] * 0.5f + 0.5f, 0, 1) * 255);
        return bytes;
    }

    /// <summary>Channels of the images.</summary>
    public int ImageChannels => FirstStage?.ImageChannels ?? Denoiser.Channels;

    /// <summary>ControlNets that were loaded with the model.</summary>
    public int Controls => Text?.Controls.Count ?? 0;

    /// <summary>What loading used of each component's weights.</summary>
    public IReadOnlyList<LoadAccount> Accounts => [.. components.Select(c => c.Account)];

    internal IReadOnlyList<TextEncoder> TextEncoders { get; private set; } = [];

    /// <summary>The denoiser of a text model; null for others.</summary>
    internal TextDenoiser? Text => Denoiser as TextDenoiser;

    /// <summary>Whether the text is read before the encoders' last layer (SDXL).</summary>
    public bool ReadsPenultimate { get; private set; }

    /// <summary>Whether no negative prompt means zeros, not the encoding of nothing (SDXL).</summary>
    internal bool ZerosForNoPrompt { get; private set; }

    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    public static ModelFolder Load(string path, ModelOptions? options = null)
    {
        options ??= new ModelOptions();
        bool single = File.Exists(path);
        if (single && KindOf(path) is { } other) throw new ModelFileException(path, null, other);
        if (!single && !Directory.Exists(path)) throw new ModelFileException(path, null, "there is no such model folder");
        if (!single && options.Prediction is not null) throw new UsageException($"prediction: {path} is a folder, which says itself what its network predicts; it is for single files");
        if (!single && CascadeIn(path) is { } cascade) return LoadCascade(path, cascade, options);
        var model = new ModelFolder(path);
        try
        {
            model.loras = LoraSet.Open(options.Loras);
            if (single) model.LoadSingleFile(options);
            else if (ModelIndex.IsIn(path)) model.LoadFolder(ModelIndex.Load(path), options);
            else if (LatentConfig.Find(path) is { } latent) model.LoadLatent(latent, options);
            else if (File.Exists(System.IO.Path.Combine(path, "config.json"))) model.LoadNetworkAlone(options);
            else throw new ModelFileException(path, null, $"has neither {ModelIndex.FileName} nor config.json; expected a diffusers model folder");
            model.LoadPreviewStage(options);
            model.LoadClassifier(options);
            if (options.CheckFinite)
                foreach (var component in model.components) FiniteCheck.Run(component.Checkpoint);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        foreach (var component in components) component.Dispose();
        Previous?.Dispose();
        singleFile?.Dispose();
        whole?.Dispose();
        loras?.Dispose();
    }

    // Names under which people put a tiny autoencoder beside a model.
    private static readonly string[] PreviewFolders = ["taesd", "taesdxl", "vae_tiny", "tiny_vae", "vae_approx"];

    private void LoadPreviewStage(ModelOptions options)
    {
        if (!options.Previews) return;
        string? folder = options.PreviewStage ?? PreviewFolders.Select(n => System.IO.Path.Combine(Path, n)).FirstOrDefault(f => File.Exists(System.IO.Path.Combine(f, "config.json")));
        if (folder is null) return;
        if (FirstStage is null) throw new UsageException($"preview: {Name} works on pixels and shows them; it takes no tiny autoencoder");
        var component = Kept(Component.Load(folder));
        var stage = component.Network as IFirstStage ?? throw new ModelFileException(component.Path, "_class_name", $"{component.Config.ClassName} is no first stage; expected an AutoencoderTiny");
        if (stage.LatentChannels != Denoiser.Channels) throw new ModelFileException(component.Path, "latent_channels", $"expected {Denoiser.Channels}, the latent's channels, found {stage.LatentChannels}");
        (PreviewStage, PreviewStagePath) = (stage, folder);
    }

    private void LoadNetworkAlone(ModelOptions options)
    {
        if (options.ControlNets.Count + options.Loras.Count > 0 || options.FirstStage is not null || options.Tokenizer is not null) throw new UsageException($"{Path} is a network's folder alone: it takes no ControlNet, LoRA, first stage or tokenizer");
        Network = Open(Path, options.Variant);
        if (LoadAuthors()) return;
        Denoiser = Network.Network is UNet2DModel unet
            ? DenoiserOf(unet)
            : throw new ModelFileException(Path, "_class_name", $"{Network.Config.ClassName} alone does not generate images; expected a UNet2DModel, or a model folder with {ModelIndex.FileName}");
        Classes = ClassesOf(unet);
    }

    private void LoadFolder(ModelIndex index, ModelOptions options)
    {
        index.Config.GetWord("_class_name", null, Pipelines);
        string schedulerFolder = index.FolderOf("scheduler"), configPath = System.IO.Path.Combine(schedulerFolder, SchedulerFile);
        if (!File.Exists(configPath)) throw new ModelFileException(schedulerFolder, null, $"has no {SchedulerFile}");
        Scheduler = SchedulerConfig.Read(ConfigFile.Load(configPath));
        LoadParts(
            new Parts(
                n => index.Find(n) is not null, n => Open(index.FolderOf(n), options.Variant, n), suffix => options.Tokenizer ?? index.FolderOf("tokenizer" + suffix),
                index.Config.Has("force_zeros_for_empty_prompt") ? index.Config.GetBool("force_zeros_for_empty_prompt", null) : null, index.Config),
            options);
    }

    private void LoadSingleFile(ModelOptions options)
    {
        var file = singleFile = SingleFileModel.Open(Path);
        Scheduler = SchedulerConfig.Read(file.Scheduler(options.Prediction));
        LoadParts(
            new Parts(
                n => file.Find(n) is not null, n => Kept(Component.Of(file.Get(n), Merged(n))),
                _ => options.Tokenizer ?? throw new ModelFileException(Path, "tokenizer", "is not in a single file; give --tokenizer FOLDER (vocab.json and merges.txt, or tokenizer.json)"), null, null),
            options);
    }

    private void LoadParts(Parts parts, ModelOptions options)
    {
        Network = parts.Open(parts.Has("transformer") ? "transformer" : "unet");
        string? own = parts.Has("vae") ? "vae" : parts.Has("vqvae") ? "vqvae" : null;
        if (options.FirstStage is not null || own is not null)
        {
            var component = options.FirstStage is { } given ? Open(given, options.Variant) : parts.Open(own!);
            FirstStage = component.Network as IFirstStage ?? throw new ModelFileException(component.Path, "_class_name", $"{component.Config.ClassName} is no first stage; expected an AutoencoderKL, AutoencoderTiny or VQModel");
        }

        switch (Network.Network)
        {
            case UNet2DModel unet:
                Denoiser = DenoiserOf(unet);
                Classes = ClassesOf(unet);
                break;
            case DiTTransformer2DModel transformer:
                Denoiser = new TransformerDenoiser(transformer);
                Classes = ClassNames.Load(Path, transformer.Config.Classes, nullClass: transformer.Config.Classes, parts.Index);
                break;
            case UNet2DConditionModel unet:
                LoadText(parts, options, unet);
                break;
            default:
                throw new ModelFileException(Network.Path, "_class_name", $"{Network.Config.ClassName} does not generate images; expected UNet2DModel, UNet2DConditionModel or DiTTransformer2DModel");
        }

        loras!.ThrowIfUnclaimed([.. ((string[])["unet", "transformer", "text_encoder", "text_encoder_2"]).Where(parts.Has)]);
        if (!TakesText && (options.ControlNets.Count > 0 || options.Tokenizer is not null)) throw new UsageException($"{Name} takes no text, so it takes no ControlNet and no tokenizer");
        if (FirstStage is not null && FirstStage.LatentChannels != Denoiser.Channels)
            throw new ModelFileException(Network.Path, "in_channels", $"{Denoiser.Channels} channels for a first stage of {FirstStage.LatentChannels}");
    }

    private void LoadText(Parts parts, ModelOptions options, UNet2DConditionModel unet)
    {
        if (FirstStage is null) throw new ModelFileException(Path, "vae", "expected [library, class], found nothing: a text-conditioned U-Net works on latents");
        // The peer's text pipelines turn clipping off whatever the file says: latents are not in [-1, 1].
        Scheduler = Scheduler with { ClipSample = false };
        var encoders = new List<TextEncoder>();
        foreach (string suffix in (string[])["", "_2"])
        {
            if (!parts.Has("text_encoder" + suffix)) continue;
            var component = parts.Open("text_encoder" + suffix);
            var network = component.Network as ClipTextModel ?? throw new ModelFileException(component.Path, "_class_name", $"{component.Config.ClassName} is no text encoder that this engine has; expected CLIPTextModel or CLIPTextModelWithProjection");
            var tokenizer = ClipTokenizer.Load(parts.Tokenizer(suffix));
            if (tokenizer.VocabularySize > network.Config.Vocabulary)
                throw new ModelFileException(component.Path, "vocab_size", $"the tokenizer has {tokenizer.VocabularySize} tokens, the text encoder embeds {network.Config.Vocabulary}; they do not belong together");
            if (tokenizer.MaximumLength > network.Config.Positions)
                throw new ModelFileException(component.Path, "max_position_embeddings", $"the tokenizer makes {tokenizer.MaximumLength} tokens, the text encoder has {network.Config.Positions} positions");
            encoders.Add(new TextEncoder(component, network, tokenizer));
        }

        if (encoders.Count == 0) throw new ModelFileException(Path, "text_encoder", "expected [library, class], found nothing: a text-conditioned U-Net needs a text encoder");
        TextEncoders = encoders;
        ReadsPenultimate = unet.Config.TextTime;
        ZerosForNoPrompt = parts.ZerosForNoPrompt ?? unet.Config.TextTime;
        var controls = options.ControlNets.Select(folder =>
        {
            var component = Open(folder, options.Variant);
            var control = component.Network as ControlNetModel ?? throw new ModelFileException(folder, "_class_name", $"{component.Config.ClassName} is no ControlNetModel");
            if (control.HintScale != FirstStage.Factor) throw new ModelFileException(folder, "conditioning_embedding_out_channels", $"the hint has {control.HintScale} pixels per pixel of the latent, the first stage {FirstStage.Factor}");
            return control;
        }).ToArray();
        var text = new TextDenoiser(Network.Path, unet, FirstStage.LatentChannels, encoders[^1].Network.Config.ProjectionChannels, controls);
        int width = encoders.Sum(e => e.Network.Config.Channels);
        if (text.ContextChannels != width) throw new ModelFileException(Network.Path, "cross_attention_dim", $"expected {width}, the width of the text encoder{(encoders.Count > 1 ? "s" : "")}, found {text.ContextChannels}");
        Denoiser = text;
    }

    private static IDenoiser DenoiserOf(UNet2DModel unet) => LowResolutionDenoiser.Fits(unet) ? new LowResolutionDenoiser(unet) : new ClassDenoiser(unet);

    private ClassNames? ClassesOf(UNet2DModel unet) => unet.Config.ClassEmbedding == ClassEmbeddingKind.Table ? ClassNames.Load(Path, unet.Config.NumClassEmbeds!.Value) : null;

    private Component Open(string folder, string? variant, string? name = null) => Kept(Component.Load(folder, variant, Merged(name), name));

    // LoRAs change the denoiser and the text encoders.
    private IReadOnlyList<LoraUse>? Merged(string? name) => name is not null && name is not ("vae" or "vqvae") ? loras!.Uses : null;

    private Component Kept(Component component)
    {
        components.Add(component);
        return component;
    }

    private static string? KindOf(string path)
    {
        if (new FileInfo(path).Length == 0) return "is empty, or is not a regular file";      // not opened: a named pipe would wait
        using var stream = File.OpenRead(path);
        var head = new byte[512];
        int got = stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        return FileKind.Sniff(head.AsSpan(0, got), path);
    }

    /// <summary>Where a model's components come from: by the names that diffusers gives them.</summary>
    private sealed record Parts(Func<string, bool> Has, Func<string, Component> Open, Func<string, string> Tokenizer, bool? ZerosForNoPrompt, ConfigFile? Index);
}
