using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>What such a model is told beside noise and time.</summary>
internal enum ConditionKind
{
    None,

    /// <summary>A class, as one embedded token.</summary>
    Class,

    /// <summary>A text, cut into pieces of words.</summary>
    Text,

    /// <summary>Labels with boxes.</summary>
    Layout,

    /// <summary>Labels with the centres of their boxes.</summary>
    Points,

    /// <summary>Labels alone.</summary>
    Labels,

    /// <summary>Numbers of tokens that the caller makes.</summary>
    Tokens,

    /// <summary>A small image, beside the latent pixel by pixel (super-resolution).</summary>
    LowResolution,

    /// <summary>An image without what a mask covers, and the mask, beside the latent (inpainting).</summary>
    MaskedImage,
}

/// <summary>
/// The authors' configuration of a whole latent diffusion model, as JSON: CompVis' LatentDiffusion (Rombach et al. 2022) or Frido's FridoDiffusion
/// (Fan et al. 2022). Either the object that their YAML calls model at the root, or the whole YAML; what names a Python class is read by its last part.
/// </summary>
internal sealed record LatentConfig(ConfigFile File, ConfigFile Params, string Class)
{
    public const string Latent = "LatentDiffusion", Frido = "FridoDiffusion", FileName = "config.json";

    private static readonly string[] Classes = [Latent, Frido];

    public bool IsPyramid => Class == Frido;

    /// <summary>Null where the folder's configuration is of something else.</summary>
    public static LatentConfig? Find(string folder)
    {
        string path = Path.Combine(folder, FileName);
        return System.IO.File.Exists(path) ? Of(ConfigFile.Load(path)) : null;
    }

    /// <inheritdoc cref="Find"/>
    public static LatentConfig? Of(ConfigFile root)
    {
        var model = IsObject(root, "model") ? root.GetOptionalObject("model")! : root;
        string name = IsString(model, "_class_name") ? model.GetString("_class_name", "") : IsString(model, "target") ? LastPart(model.GetString("target", "")) : "";
        if (!Classes.Contains(name)) return null;
        return new LatentConfig(root, Object(model, "params"), name);
    }

    /// <summary>The parameters of a part and the last part of its class's name.</summary>
    public (ConfigFile Params, string Target) Part(string name)
    {
        var part = Object(Params, name);
        return (part.GetOptionalObject("params") ?? ConfigFile.Parse(File.Path, "{}"u8.ToArray()), part.GetString("target", null));
    }

    /// <summary>The condition's parameters, the last part of its class's name and what it is; null where the model has none.</summary>
    public (ConfigFile? Params, string Target, ConditionKind Kind) Condition()
    {
        const string Field = "cond_stage_config";
        string key = IsString(Params, "conditioning_key") ? Params.GetWord("conditioning_key", null, "crossattn", "concat", "hybrid", "adm") : "";
        if (key is "hybrid" or "adm") throw new ModelFileException(File.Path, "params.conditioning_key", $"'{key}' is not supported; expected crossattn or concat");
        if (!Params.Has(Field)) return (null, "", ConditionKind.None);
        if (IsString(Params, Field))
        {
            string word = Params.GetWord(Field, null, "__is_unconditional__", "__is_first_stage__");
            if (word == "__is_unconditional__") return (null, word, ConditionKind.None);
            return key == "concat" ? (null, word, ConditionKind.MaskedImage) : throw new ModelFileException(File.Path, "params." + Field, $"'{word}' needs the conditioning_key concat, found '{key}'");
        }

        var (parameters, target) = Part(Field);
        string last = LastPart(target);
        switch (last)
        {
            case "Identity" when key == "concat":
                return (null, last, ConditionKind.LowResolution);
            case "ClassEmbedder" when key == "crossattn":
                return (parameters, last, ConditionKind.Class);
            case "BERTEmbedder" when key == "crossattn":
                if (parameters.GetBool("use_tokenizer", true)) return (parameters, last, ConditionKind.Text);
                return (parameters, last, Params.GetString("cond_stage_key", "") switch
                {
                    "objects_bbox" or "coordinates_bbox" => ConditionKind.Layout,
                    "objects_center_points" => ConditionKind.Points,
                    "objects" => ConditionKind.Labels,
                    _ => ConditionKind.Tokens,
                });
            default:
                throw new ModelFileException(File.Path, "params.cond_stage_config.target", $"'{target}' with the conditioning_key '{key}' is not supported; expected ClassEmbedder or BERTEmbedder with crossattn, or Identity with concat");
        }
    }

    public static string LastPart(string name) => name[(name.LastIndexOf('.') + 1)..];

    private static ConfigFile Object(ConfigFile f, string name) => f.GetOptionalObject(name) ?? throw new ModelFileException(f.Path, name, "expected an object, found nothing");

    private static bool IsObject(ConfigFile f, string name) => f.Root.TryGetProperty(name, out var e) && e.ValueKind == JsonValueKind.Object;

    private static bool IsString(ConfigFile f, string name) => f.Root.TryGetProperty(name, out var e) && e.ValueKind == JsonValueKind.String;
}
