using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>The fields of a DiTTransformer2DModel's config.json, checked.</summary>
/// <param name="SampleSize">Height and width of the latent that the network was trained at.</param>
/// <param name="Classes">Class numbers are 0 to Classes; the last stands for none.</param>
public sealed record DiTConfig(
    int InChannels, int OutChannels, int Heads, int HeadDim, int Layers, int SampleSize, int Patch, int Classes, bool AttentionBias, FeedForwardKind FeedForward, double Epsilon)
{
    private const int MaximumChannels = 1 << 16;

    public int Channels => Heads * HeadDim;

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, or not supported.</exception>
    public static DiTConfig Read(ConfigFile f)
    {
        f.GetWord("norm_type", "ada_norm_zero", "ada_norm_zero");
        if (f.GetBool("norm_elementwise_affine", false)) throw new ModelFileException(f.Path, "norm_elementwise_affine", "expected false; other values are not supported");
        int channels = f.GetInt("in_channels", 4, 1, MaximumChannels), heads = f.GetInt("num_attention_heads", 16, 1, 1024), dim = f.GetInt("attention_head_dim", 72, 1, 4096);
        if (heads * dim % 4 != 0) throw new ModelFileException(f.Path, "attention_head_dim", $"expected a width in multiples of 4 for the position embedding, found {heads * dim}");
        int size = f.GetInt("sample_size", 32, 1, 1 << 14), patch = f.GetInt("patch_size", 2, 1, 1 << 10);
        if (size < patch) throw new ModelFileException(f.Path, "patch_size", $"expected at most sample_size {size}, found {patch}");
        return new(
            channels, f.GetInt("out_channels", channels, 1, MaximumChannels), heads, dim, f.GetInt("num_layers", 28, 1, 1024), size, patch,
            f.GetInt("num_embeds_ada_norm", 1000, 1, 1 << 24), f.GetBool("attention_bias", true),
            f.GetWord("activation_fn", "gelu-approximate", "gelu-approximate", "gelu", "geglu") switch
            {
                "gelu" => FeedForwardKind.Gelu,
                "geglu" => FeedForwardKind.Geglu,
                _ => FeedForwardKind.GeluTanh,
            },
            f.GetDouble("norm_eps", 1e-5, 0, 1));
    }
}
