using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>The fields of a CLIP text encoder's config.json, checked.</summary>
/// <param name="EndOfText">Token at which the pooled vector is read; null: at the largest token of the text.</param>
/// <param name="ProjectionChannels">Width of the projected vector; null where there is no projection.</param>
public sealed record ClipTextConfig(
    int Channels, int HiddenChannels, int Heads, int Layers, int Positions, int Vocabulary, Unary Activation, double Epsilon, int? EndOfText, int? ProjectionChannels)
{
    private const int MaximumChannels = 1 << 16;

    // Files from before 2023 carry this number instead of the token; their text ends at the largest token, which is the end of text.
    private const int LegacyEndOfText = 2;

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static ClipTextConfig Read(ConfigFile f)
    {
        int channels = f.GetInt("hidden_size", 512, 1, MaximumChannels), heads = f.GetInt("num_attention_heads", 8, 1, MaximumChannels);
        if (channels % heads != 0) throw new ModelFileException(f.Path, "num_attention_heads", $"{heads} heads do not divide {channels} channels");
        int vocabulary = f.GetInt("vocab_size", 49408, 1, 1 << 24);
        int end = f.GetInt("eos_token_id", 49407, 0, int.MaxValue);
        if (end != LegacyEndOfText && end >= vocabulary) throw new ModelFileException(f.Path, "eos_token_id", $"expected less than vocab_size {vocabulary}, found {end}");
        return new(
            channels, f.GetInt("intermediate_size", 2048, 1, 1 << 20), heads, f.GetInt("num_hidden_layers", 12, 1, 1024), f.GetInt("max_position_embeddings", 77, 1, 1 << 20),
            vocabulary, f.GetWord("hidden_act", "quick_gelu", "quick_gelu", "gelu") == "gelu" ? Unary.Gelu : Unary.QuickGelu, f.GetDouble("layer_norm_eps", 1e-5, 0, 1),
            end == LegacyEndOfText ? null : end, f.ClassName == "CLIPTextModelWithProjection" ? f.GetInt("projection_dim", 512, 1, MaximumChannels) : null);
    }
}
