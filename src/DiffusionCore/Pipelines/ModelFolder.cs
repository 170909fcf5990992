using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Text;
using DiffusionCore.Weights;

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

    /// <summary>A first stage's folder in place of the model's own, such as a tiny autoencoder.</summary>
    public string? FirstStage { get; init; }

    /// <summary>Folders of ControlNets.</summary>
    public IReadOnlyList<string> ControlNets { get; init; } = [];
}

/// <summary>
/// A model that makes images: a diffusers model folder (model_index.json and a folder per component), or the folder of a U-Net alone. Its parts are
/// a denoiser and a scheduler, and for latent models a first stage, for text models text encoders.
/// </summary>
public sealed class ModelFolder : IDisposable
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

    /// <summary>Whether a text is needed.</summary>
    public bool TakesText => TextEncoders.Count > 0;

    /// <summary>Pixels of the image per pixel of the latent, along one axis.</summary>
    public int Factor => FirstStage?.Factor ?? 1;

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
    internal bool ReadsPenultimate { get; private set; }

    /// <summary>Whether no negative prompt means zeros, not the encoding of nothing (SDXL).</summary>
    internal bool ZerosForNoPrompt { get; private set; }

    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    public static ModelFolder Load(string path, ModelOptions? options = null)
    {
        options ??= new ModelOptions();
        if (File.Exists(path)) throw new ModelFileException(path, null, KindOf(path) ?? "is a single file; this version generates from model folders (model_index.json beside unet/ and scheduler/)");
        if (!Directory.Exists(path)) throw new ModelFileException(path, null, "there is no such model folder");
        var model = new ModelFolder(path);
        try
        {
            if (ModelIndex.IsIn(path)) model.LoadParts(ModelIndex.Load(path), options);
            else if (File.Exists(System.IO.Path.Combine(path, "config.json"))) model.LoadNetworkAlone(options);
            else throw new ModelFileException(path, null, $"has neither {ModelIndex.FileName} nor config.json; expected a diffusers model folder");
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
    }

    private void LoadNetworkAlone(ModelOptions options)
    {
        if (options.ControlNets.Count > 0 || options.FirstStage is not null || options.Tokenizer is not null) throw new UsageException($"{Path} is a network's folder alone: it takes no ControlNet, first stage or tokenizer");
        Network = Open(Path, options.Variant);
        Denoiser = Network.Network is UNet2DModel unet
            ? new ClassDenoiser(unet)
            : throw new ModelFileException(Path, "_class_name", $"{Network.Config.ClassName} alone does not generate images; expected a UNet2DModel, or a model folder with {ModelIndex.FileName}");
        Classes = ClassesOf(unet);
    }

    private void LoadParts(ModelIndex index, ModelOptions options)
    {
        index.Config.GetWord("_class_name", null, Pipelines);
        string schedulerFolder = index.FolderOf("scheduler"), configPath = System.IO.Path.Combine(schedulerFolder, SchedulerFile);
        if (!File.Exists(configPath)) throw new ModelFileException(schedulerFolder, null, $"has no {SchedulerFile}");
        Scheduler = SchedulerConfig.Read(ConfigFile.Load(configPath));

        string networkName = index.Find("transformer") is not null ? "transformer" : "unet";
        Network = Open(index.FolderOf(networkName), options.Variant);
        string? firstStage = options.FirstStage ?? (index.Find("vae") is not null ? index.FolderOf("vae") : index.Find("vqvae") is not null ? index.FolderOf("vqvae") : null);
        if (firstStage is not null)
        {
            var component = Open(firstStage, options.Variant);
            FirstStage = component.Network as IFirstStage ?? throw new ModelFileException(firstStage, "_class_name", $"{component.Config.ClassName} is no first stage; expected an AutoencoderKL, AutoencoderTiny or VQModel");
        }

        switch (Network.Network)
        {
            case UNet2DModel unet:
                Denoiser = new ClassDenoiser(unet);
                Classes = ClassesOf(unet);
                break;
            case DiTTransformer2DModel transformer:
                Denoiser = new TransformerDenoiser(transformer);
                Classes = ClassNames.Load(Path, transformer.Config.Classes, nullClass: transformer.Config.Classes);
                break;
            case UNet2DConditionModel unet:
                LoadText(index, options, unet);
                break;
            default:
                throw new ModelFileException(Network.Path, "_class_name", $"{Network.Config.ClassName} does not generate images; expected UNet2DModel, UNet2DConditionModel or DiTTransformer2DModel");
        }

        if (!TakesText && (options.ControlNets.Count > 0 || options.Tokenizer is not null)) throw new UsageException($"{Name} takes no text, so it takes no ControlNet and no tokenizer");
        if (FirstStage is not null && FirstStage.LatentChannels != Denoiser.Channels)
            throw new ModelFileException(Network.Path, "in_channels", $"{Denoiser.Channels} channels for a first stage of {FirstStage.LatentChannels}");
    }

    private void LoadText(ModelIndex index, ModelOptions options, UNet2DConditionModel unet)
    {
        if (FirstStage is null) throw new ModelFileException(index.Config.Path, "vae", "expected [library, class], found nothing: a text-conditioned U-Net works on latents");
        var encoders = new List<TextEncoder>();
        foreach (string suffix in (string[])["", "_2"])
        {
            if (index.Find("text_encoder" + suffix) is null) continue;
            var component = Open(index.FolderOf("text_encoder" + suffix), options.Variant);
            var network = component.Network as ClipTextModel ?? throw new ModelFileException(component.Path, "_class_name", $"{component.Config.ClassName} is no text encoder that this engine has; expected CLIPTextModel or CLIPTextModelWithProjection");
            var tokenizer = ClipTokenizer.Load(options.Tokenizer ?? index.FolderOf("tokenizer" + suffix));
            if (tokenizer.VocabularySize > network.Config.Vocabulary)
                throw new ModelFileException(component.Path, "vocab_size", $"the tokenizer has {tokenizer.VocabularySize} tokens, the text encoder embeds {network.Config.Vocabulary}; they do not belong together");
            if (tokenizer.MaximumLength > network.Config.Positions)
                throw new ModelFileException(component.Path, "max_position_embeddings", $"the tokenizer makes {tokenizer.MaximumLength} tokens, the text encoder has {network.Config.Positions} positions");
            encoders.Add(new TextEncoder(component, network, tokenizer));
        }

        if (encoders.Count == 0) throw new ModelFileException(index.Config.Path, "text_encoder", "expected [library, class], found nothing: a text-conditioned U-Net needs a text encoder");
        TextEncoders = encoders;
        ReadsPenultimate = unet.Config.TextTime;
        ZerosForNoPrompt = index.Config.GetBool("force_zeros_for_empty_prompt", unet.Config.TextTime);
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

    private ClassNames? ClassesOf(UNet2DModel unet) => unet.Config.ClassEmbedding == ClassEmbeddingKind.Table ? ClassNames.Load(Path, unet.Config.NumClassEmbeds!.Value) : null;

    private Component Open(string folder, string? variant)
    {
        var component = Component.Load(folder, variant);
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
}
