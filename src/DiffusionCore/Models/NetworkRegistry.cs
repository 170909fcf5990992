using DiffusionCore.Json;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>Networks by the class that their configuration names.</summary>
internal static class NetworkRegistry
{
    private static readonly Entry[] Table =
    [
        new("UNet2DModel", "unet", (w, f) => new UNet2DModel(w, UNet2DConfig.Read(f))),
        new("UNet2DConditionModel", "unet", (w, f) => new UNet2DConditionModel(w, UNet2DConditionConfig.Read(f))),
        new("ControlNetModel", "controlnet", (w, f) => new ControlNetModel(w, ControlNetConfig.Read(f))),
        new("T2IAdapter", "adapter", (w, f) => new T2IAdapter(w, T2IAdapterConfig.Read(f))),
        new("DiTTransformer2DModel", "transformer", (w, f) => new DiTTransformer2DModel(w, DiTConfig.Read(f))),
        new("CLIPTextModel", "text_encoder", (w, f) => new ClipTextModel(w, ClipTextConfig.Read(f))),
        new("CLIPTextModelWithProjection", "text_encoder", (w, f) => new ClipTextModel(w, ClipTextConfig.Read(f))),
        new("BERTEmbedder", "cond_stage_model", (w, f) => new BertEmbedder(w, BertConfig.Read(f))),
        new("LDMBertModel", "bert", (w, f) => new BertEmbedder(w, BertConfig.ReadFolder(f))),
        new("BERTEmbedder(ldm)", "cond_stage_model", (w, f) => new BertEmbedder(w, BertConfig.Read(f))),
        new("UNetModel(ldm.openaimodel)", "diffusion_model", (w, f) => new OpenAiUNet(w, OpenAiUNetConfig.ReadLatent(f), "eps")),
        new("UNetModel(guided_diffusion)", "diffusion_model", (w, f) => new OpenAiUNet(w, OpenAiUNetConfig.ReadGuided(f), "out")),
        new("UNetModel(consistency_models)", "diffusion_model", (w, f) => new ConsistencyModel(w, OpenAiUNetConfig.ReadConsistency(f))),
        new("EncoderUNetModel(guided_diffusion)", "classifier", (w, f) => new OpenAiClassifier(w, OpenAiUNetConfig.ReadClassifier(f))),
        new("PyUNetModel", "diffusion_model", (w, f) => new PyramidUNet(w, OpenAiUNetConfig.ReadPyramid(f))),
        new("EDMPrecond", "edm", (w, f) => new EdmPrecond(w, EdmConfig.Read(f, learnedVariance: false))),
        new("VPPrecond", "edm", (w, f) => new EdmPrecond(w, EdmConfig.Read(f, learnedVariance: false))),
        new("VEPrecond", "edm", (w, f) => new EdmPrecond(w, EdmConfig.Read(f, learnedVariance: false))),
        new("iDDPMPrecond", "edm", (w, f) => new IddpmPrecond(w, EdmConfig.Read(f, learnedVariance: true))),
        new("Precond(edm2)", "edm2", (w, f) => new Edm2Precond(w, Edm2Config.Read(f))),
        new("guided_sample", "guided", (w, f) => new GuidedPair(w, f)),
        new("edm2 edm_sampler", "edm2", (w, f) => new Edm2Pair(w, f)),
        new("NCSNpp+pc_sampler", "score_model", (w, f) => new ScoreUNet(w, ScoreConfig.Read(f))),
        new("NCSNpp", "score_model", (w, f) => new ScoreUNet(w, ScoreConfig.Read(f))),
        new("ImageClassifier", "classifier", (w, f) => new ImageClassifier(w, ImageClassifierConfig.Read(f))),
        new("AutoencoderKL", "vae", (w, f) => new AutoencoderKL(w, AutoencoderKLConfig.Read(f))),
        new("VQModel", "vqvae", (w, f) => new VQModel(w, VQModelConfig.Read(f))),
        new("AutoencoderTiny", "vae", (w, f) => new AutoencoderTiny(w, AutoencoderTinyConfig.Read(f))),
        new("AutoencoderKL(ldm)", "first_stage_model", (w, f) => new AutoencoderKL(w, AutoencoderKLConfig.ReadAuthors(f), authors: true)),
        new("VQModelInterface(ldm)", "first_stage_model", (w, f) => new VQModel(w, VQModelConfig.ReadAuthors(f), authors: true)),
        new("VQModelInterface(taming.models.msvqgan)", "first_stage_model", (w, f) => new MultiscaleVQModel(w, MultiscaleVQConfig.Read(f))),
    ];

    private static readonly string[] Classes = [.. Table.Select(e => e.Class)];

    /// <summary>The class that a configuration names: diffusers writes _class_name, transformers the first of architectures.</summary>
    /// <exception cref="Runtime.ModelFileException">The class is unknown.</exception>
    public static Entry Find(ConfigFile config)
    {
        if (!config.Has("_class_name") && config.GetOptionalStrings("architectures") is [var architecture, ..])
        {
            return Array.Find(Table, e => e.Class == architecture)
                ?? throw new Runtime.ModelFileException(config.Path, "architectures", $"'{architecture}' is not supported{Suggestion.Hint(architecture, Classes)}");
        }

        return Get(config.GetWord("_class_name", null, Classes));
    }

    /// <summary>The entry of a class that is known to be there.</summary>
    public static Entry Get(string name) => Array.Find(Table, e => e.Class == name)!;

    /// <param name="Label">How messages call the component.</param>
    internal sealed record Entry(string Class, string Label, Func<WeightScope, ConfigFile, INetwork> Create);
}
