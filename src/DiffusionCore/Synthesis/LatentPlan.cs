using System.Globalization;
using System.Text;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Synthesis;

/// <summary>
/// Whole models by the authors' names: CompVis' latent diffusion and Frido. The configuration is the authors' own, as JSON; names and shapes of the weights
/// are those that the networks ask for when they are made from it.
/// </summary>
internal static class LatentPlan
{
    // Last products of residual branches, and what modulates norms around 1.
    private static readonly string[] Branches =
    [
        "out_layers.3.weight", "proj_out.weight", "to_out.0.weight", "to_out.weight", "ff.net.2.weight", "net.2.weight", "conv2.weight", "mlp_gamma.weight", "mlp_beta.weight",
    ];

    private static readonly string[] Tables = ["embedding.weight", "token_emb.weight", "pos_emb.emb.weight", "stage_emb.weight"];

    // Noise comes out with about the deviation of noise, pixels with a half.
    private const float NoiseGain = 1.6f, PixelGain = 0.8f, TableDeviation = 0.5f, Small = 0.02f;

    /// <param name="json">As config.json has it.</param>
    public static SynthPreset Preset(string name, string json)
    {
        var config = LatentConfig.Of(ConfigFile.Parse(name, Encoding.UTF8.GetBytes(json)))!;
        var (unet, _) = config.Part("unet_config");
        var (first, target) = config.Part("first_stage_config");
        var (condition, _, kind) = config.Condition();
        var parts = new List<SynthComponent>
        {
            Part("model.diffusion_model", config.IsPyramid ? "PyUNetModel" : "UNetModel", w => config.IsPyramid ? new PyramidUNet(w, OpenAiUNetConfig.ReadPyramid(unet)) : new OpenAiUNet(w, OpenAiUNetConfig.ReadLatent(unet), "eps")),
            Part("first_stage_model", LatentConfig.LastPart(target), w => config.IsPyramid ? new MultiscaleVQModel(w, MultiscaleVQConfig.Read(first))
                : target.EndsWith("KL", StringComparison.Ordinal) ? new AutoencoderKL(w, AutoencoderKLConfig.ReadAuthors(first), authors: true) : new VQModel(w, VQModelConfig.ReadAuthors(first), authors: true)),
        };
        if (kind == ConditionKind.Class) parts.Add(Part("cond_stage_model", "ClassEmbedder", w => new ClassEmbedder(w, condition!.GetInt("n_classes", null), condition.GetInt("embed_dim", null))));
        else if (condition is not null) parts.Add(Part("cond_stage_model", "BERTEmbedder", w => new BertEmbedder(w, BertConfig.Read(condition))));
        return new SynthPreset
        {
            Name = name, Pipeline = config.Class, Components = parts, Tokenizers = [], SchedulerClass = "", Scheduler = _ => { }, Whole = json,
            WordPieces = kind == ConditionKind.Text ? BertConfig.Read(condition!).Vocabulary : 0,
        };
    }

    private static SynthComponent Part(string prefix, string type, Func<WeightScope, INetwork> create)
    {
        var wanted = new List<(string Name, Shape Shape)>();
        _ = create(WeightScope.Collector(wanted));
        return new SynthComponent(prefix, "", type, _ => { }, [.. wanted.Select(w => Plan($"{prefix}.{w.Name}", w.Shape))]);
    }

    private static TensorPlan Plan(string name, Shape shape)
    {
        long[] dims = shape.ToArray();
        bool weight = name.EndsWith(".weight", StringComparison.Ordinal);
        if (!weight || dims.Length < 2) return new TensorPlan(name, dims, weight ? 1 : 0, Small);
        float root3 = MathF.Sqrt(3);
        if (Tables.Any(t => name.EndsWith(t, StringComparison.Ordinal))) return new TensorPlan(name, dims, 0, TableDeviation * root3);
        float gain = Branches.Any(b => name.EndsWith(b, StringComparison.Ordinal)) ? LayoutBuilder.Branch
            : name.StartsWith("model.diffusion_model.out.", StringComparison.Ordinal) ? NoiseGain
            : name == "first_stage_model.decoder.conv_out.weight" ? PixelGain : 1;
        return new TensorPlan(name, dims, 0, gain * root3 / MathF.Sqrt(dims[1..].Aggregate(1L, (a, d) => a * d)));
    }

    /// <summary>A WordPiece vocabulary that owes nothing to a real one: the special tokens, letters and digits at the start of a word and inside it, then numbers.</summary>
    public static void WriteVocabulary(string path, int count)
    {
        string[] letters = [.. Enumerable.Range('a', 26).Concat(Enumerable.Range('0', 10)).Select(c => ((char)c).ToString())];
        var tokens = new List<string> { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
        tokens.AddRange(letters);
        tokens.AddRange(letters.Select(l => "##" + l));
        tokens.AddRange(Enumerable.Range(33, 94).Select(c => ((char)c).ToString()).Where(c => !char.IsAsciiLetterOrDigit(c[0])));
        for (int i = 0; tokens.Count < count; i++) tokens.Add("##" + (1000 + i).ToString(CultureInfo.InvariantCulture));
        File.WriteAllText(path, string.Join('\n', tokens.Take(count)) + "\n");
    }
}
