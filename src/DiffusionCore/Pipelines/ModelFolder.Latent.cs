using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Authors;
using DiffusionCore.Text;
using DiffusionCore.Weights;

namespace DiffusionCore.Pipelines;

/// <content>Whole models of CompVis' latent diffusion and of Frido: config.json beside one file of weights by the authors' names.</content>
public sealed partial class ModelFolder
{
    private const string UNetPrefix = "model.diffusion_model.", AveragePrefix = "model_ema.", FirstStagePrefix = "first_stage_model.", ConditionPrefix = "cond_stage_model.", Scale = "scale_factor";

    private Checkpoint? whole;
    private IReadOnlyList<IDenoiser>? stages;

    /// <summary>Networks that are sampled one after the other, coarse to fine; one for most models.</summary>
    public IReadOnlyList<IDenoiser> Stages => stages ?? [Denoiser];

    /// <summary>Channels of a whole latent: of all stages.</summary>
    public int LatentChannels => Stages.Sum(s => s.Channels);

    internal ConditionKind ConditionKind { get; private set; }

    internal ConditionStage? Condition { get; private set; }

    private void LoadLatent(LatentConfig config, ModelOptions options)
    {
        if (options.ControlNets.Count + options.Loras.Count > 0 || options.FirstStage is not null) throw new UsageException($"{Path} is a {config.Class}: it takes no ControlNet, LoRA or other first stage");
        var file = whole = Checkpoint.Open(Path, options.Variant);
        var (unetParams, unetTarget) = config.Part("unet_config");
        var (stageParams, stageTarget) = config.Part("first_stage_config");
        var (conditionParams, _, kind) = config.Condition();
        string wanted = config.IsPyramid ? "PyUNetModel" : "UNetModel";
        if (LatentConfig.LastPart(unetTarget) != wanted) throw new ModelFileException(config.File.Path, "params.unet_config.target", $"expected {wanted} in a {config.Class}, found '{unetTarget}'");
        if (config.IsPyramid && unetParams.GetOptionalInts("split_embed_dim_list") is { } split && stageParams.GetOptionalInts("embed_dim") is { } embed && !split.AsSpan().SequenceEqual(embed))
            throw new ModelFileException(config.File.Path, "params.unet_config.params.split_embed_dim_list", $"expected [{string.Join(", ", embed)}], the levels of first_stage_config, found [{string.Join(", ", split)}]");
        Network = Kept(Component.Of(config.File.Path, unetParams, config.IsPyramid ? wanted : "UNetModel(ldm.openaimodel)", UNetOf(file, config), "model.diffusion_model"));
        string stageClass = (config.IsPyramid, LatentConfig.LastPart(stageTarget)) switch
        {
            (true, "VQModelInterface" or "MSVQModel") => "VQModelInterface(taming.models.msvqgan)",
            (false, "VQModelInterface" or "VQModel") => "VQModelInterface(ldm)",
            (false, "AutoencoderKL") => "AutoencoderKL(ldm)",
            _ => throw new ModelFileException(config.File.Path, "params.first_stage_config.target", $"'{stageTarget}' is no first stage of a {config.Class} that is known here; expected {(config.IsPyramid ? "VQModelInterface" : "VQModelInterface or AutoencoderKL")}"),
        };
        var stage = Kept(Component.Of(config.File.Path, stageParams, stageClass, View(file, FirstStagePrefix, "loss."), "first_stage_model"));
        var first = (IFirstStage)stage.Network;
        FirstStage = Scaled(config, file, first);
        ConditionKind = kind;
        if (kind is not (ConditionKind.None or ConditionKind.LowResolution or ConditionKind.MaskedImage)) LoadCondition(config, file, kind, conditionParams!, options);
        else if (options.Tokenizer is not null) throw new UsageException($"{Name} takes no text, so it takes no tokenizer");
        if (Network.Network is PyramidUNet pyramid) LoadPyramid(config, pyramid);
        else LoadPlain(config, (OpenAiUNet)Network.Network, first);
        int? context = Network.Network switch { PyramidUNet p => p.Config.ContextChannels, OpenAiUNet u => u.Config.ContextChannels, _ => null };
        if (Condition is { } c && context != c.Channels)
            throw new ModelFileException(config.File.Path, "params.unet_config.params.context_dim", $"expected {c.Channels}, the width of the condition's vectors, found {(context is { } w ? w : "nothing")}");
        var own = LatentSampling.Read(config, kind);
        (Own, Scheduler) = (own, own.Scheduler);
    }

    private void LoadPyramid(LatentConfig config, PyramidUNet unet)
    {
        if (ConditionKind is ConditionKind.LowResolution or ConditionKind.MaskedImage) throw new ModelFileException(config.File.Path, "params.conditioning_key", "'concat' is not supported in a FridoDiffusion; expected crossattn");
        this.stages = [.. Enumerable.Range(0, unet.Config.Stages.Length).Select(s => new PyramidStage(unet, s))];
        Denoiser = this.stages[0];
    }

    private void LoadPlain(LatentConfig config, OpenAiUNet unet, IFirstStage first)
    {
        int beside = unet.Config.InChannels - first.LatentChannels, expected = ConditionKind switch
        {
            ConditionKind.LowResolution => first.ImageChannels,
            ConditionKind.MaskedImage => first.LatentChannels + 1,
            _ => 0,
        };
        if (beside != expected) throw new ModelFileException(config.File.Path, "params.unet_config.params.in_channels", $"expected {first.LatentChannels + expected}: {first.LatentChannels} of the latent and {expected} of the condition, found {unet.Config.InChannels}");
        if (unet.Config.OutChannels != first.LatentChannels) throw new ModelFileException(config.File.Path, "params.unet_config.params.out_channels", $"expected {first.LatentChannels}, the latent's, found {unet.Config.OutChannels}");
        if (unet.Config.Classes > 0) throw new ModelFileException(config.File.Path, "params.unet_config.params.num_classes", "is not supported in a LatentDiffusion; its class is a token of the context");
        Denoiser = new LatentDenoiser(unet, first.LatentChannels);
    }

    private void LoadCondition(LatentConfig config, Checkpoint file, ConditionKind kind, ConfigFile f, ModelOptions options)
    {
        var view = View(file, ConditionPrefix);
        if (kind == ConditionKind.Class)
        {
            int classes = f.GetInt("n_classes", 1000, 1, 1 << 24), width = f.GetInt("embed_dim", null, 1, 1 << 16);
            var component = Kept(Component.Of(config.File.Path, f, "cond_stage_model", view, w => new ClassEmbedder(w, classes, width)));
            // The last of them was trained as no class (cin256-v2: 1000 classes and one more).
            Classes = ClassNames.Load(Path, classes, nullClass: classes - 1);
            Condition = new ConditionStage(kind, 1, width, classes, config.IsPyramid, ((ClassEmbedder)component.Network).Record);
            return;
        }

        var bert = Kept(Component.Of(config.File.Path, f, "BERTEmbedder", view, "cond_stage_model")).Network as BertEmbedder ?? throw new InvalidOperationException();
        var c = bert.Config;
        var tokenizer = kind == ConditionKind.Text ? BertTokenizer.Load(options.Tokenizer ?? TokenizerFolder()) : null;
        if (tokenizer is null && options.Tokenizer is not null) throw new UsageException($"{Name} takes no text, so it takes no tokenizer");
        if (tokenizer is not null && tokenizer.VocabularySize > c.Vocabulary) throw new ModelFileException(config.File.Path, "vocab_size", $"the tokenizer has {tokenizer.VocabularySize} tokens, the text encoder embeds {c.Vocabulary}; they do not belong together");
        var layout = kind is ConditionKind.Layout or ConditionKind.Points or ConditionKind.Labels ? LayoutTokens.Read(config, Path, kind, c.Vocabulary, c.Positions) : null;
        Condition = new ConditionStage(kind, layout?.Length ?? c.Positions, c.Channels, c.Vocabulary, kind != ConditionKind.Text, bert.Record) { Tokenizer = tokenizer, Layout = layout };
    }

    private string TokenizerFolder()
    {
        string inside = System.IO.Path.Combine(Path, "tokenizer");
        if (File.Exists(System.IO.Path.Combine(inside, BertTokenizer.FileName))) return inside;
        if (File.Exists(System.IO.Path.Combine(Path, BertTokenizer.FileName))) return Path;
        throw new ModelFileException(Path, "tokenizer", $"is not in this folder: expected {BertTokenizer.FileName} or tokenizer/{BertTokenizer.FileName}; or give --tokenizer FOLDER");
    }

    // A number per level is multiplied in; a model without one was trained with 1.
    private static IFirstStage Scaled(LatentConfig config, Checkpoint file, IFirstStage first)
    {
        float[] scales = [(float)config.Params.GetDouble(Scale, 1)];
        if (file.TryGet(Scale, out var entry))
        {
            if (entry.Type != StorageType.F32) throw new ModelFileException(file.Path, Scale, $"is stored as {entry.Type.FileName()}; expected F32");
            scales = new float[entry.Bytes / sizeof(float)];
            file.Read(Scale, System.Runtime.InteropServices.MemoryMarshal.AsBytes(scales.AsSpan()));
        }

        int odd = Array.FindIndex(scales, s => !(s > 0 && float.IsFinite(s)));
        if (odd >= 0) throw new ModelFileException(file.Path, Scale, FormattableString.Invariant($"expected positive numbers, found {scales[odd]}"));
        int[] widths = first is MultiscaleVQModel m ? m.Config.EmbedChannels : [first.LatentChannels];
        if (scales.Length == 1 && widths.Length > 1) scales = [.. widths.Select(_ => scales[0])];
        if (scales.Length != widths.Length) throw new ModelFileException(file.Path, Scale, $"expected {widths.Length} numbers, one per level, found {scales.Length}");
        return new ScaledFirstStage(first, [.. widths.SelectMany((n, i) => Enumerable.Repeat(scales[i], n))]);
    }

    /// <summary>The averaged weights where the file has them and the configuration does not say that they are not used; else the trained ones.</summary>
    private static Checkpoint UNetOf(Checkpoint file, LatentConfig config)
    {
        bool averaged = config.Params.GetBool("use_ema", true) && file.Names.Any(n => n.StartsWith(AveragePrefix, StringComparison.Ordinal));
        var views = new List<TensorView>();
        foreach (string key in file.Names.Where(n => n.StartsWith(UNetPrefix, StringComparison.Ordinal)).ToArray())
        {
            string name = key[UNetPrefix.Length..], average = AveragePrefix + key["model.".Length..].Replace(".", "", StringComparison.Ordinal);
            // What is not trained has no average.
            views.Add(new TensorView(name, averaged && file.TryGet(average, out _) ? average : key));
        }

        if (views.Count == 0) throw new ModelFileException(file.Path, UNetPrefix, $"is not there; expected a checkpoint by the authors' names, it has {string.Join(", ", file.Names.Take(4))}");
        return Checkpoint.View(file, views);
    }

    private static Checkpoint View(Checkpoint file, string prefix, string? without = null) => Checkpoint.View(
        file, file.Names.Where(n => n.StartsWith(prefix, StringComparison.Ordinal) && (without is null || !n.AsSpan(prefix.Length).StartsWith(without))).Select(n => new TensorView(n[prefix.Length..], n)).ToArray());
}
