using System.Text.Json;
using DiffusionCore.Json;

namespace DiffusionCore.Synthesis;

/// <summary>A diffusion transformer (Peebles and Xie 2023) by its sizes; names and shapes are diffusers'.</summary>
public sealed record DitPlan(int Heads, int HeadWidth, int Layers, int Patch, int Classes, int SampleSize)
{
    private const int LatentChannels = 4, TimeFeatures = 256;

    // Shifts, scales and gates stay small beside 1; noise and variance come out with about the deviation of noise.
    private const float ModulationGain = 0.3f, TableDeviation = 0.5f;

    public void Config(Utf8JsonWriter w)
    {
        w.WriteString("_class_name", "DiTTransformer2DModel");
        w.WriteNumber("num_attention_heads", Heads);
        w.WriteNumber("attention_head_dim", HeadWidth);
        w.WriteNumber("in_channels", LatentChannels);
        w.WriteNumber("out_channels", 2 * LatentChannels);
        w.WriteNumber("num_layers", Layers);
        w.WriteNumber("sample_size", SampleSize);
        w.WriteNumber("patch_size", Patch);
        w.WriteNumber("num_embeds_ada_norm", Classes);
        w.WriteString("norm_type", "ada_norm_zero");
        w.WriteString("activation_fn", "gelu-approximate");
        w.WriteBoolean("attention_bias", true);
        w.WriteBoolean("norm_elementwise_affine", false);
        w.WriteNumber("norm_eps", 1e-5);
        w.WriteNumber("norm_num_groups", 32);
        w.WriteNumber("dropout", 0);
        w.WriteBoolean("upcast_attention", false);
    }

    public IReadOnlyList<TensorPlan> Tensors()
    {
        var b = new LayoutBuilder();
        int width = Heads * HeadWidth;
        b.Conv("pos_embed.proj", width, LatentChannels, Patch);
        for (int i = 0; i < Layers; i++)
        {
            string name = $"transformer_blocks.{i}";

            // Every block carries its own embedding of time and class.
            b.Linear(name + ".norm1.emb.timestep_embedder.linear_1", width, TimeFeatures);
            b.Linear(name + ".norm1.emb.timestep_embedder.linear_2", width, width);
            b.Table(name + ".norm1.emb.class_embedder.embedding_table", Classes + 1, width, TableDeviation);
            b.Linear(name + ".norm1.linear", 6 * width, width, ModulationGain);
            foreach (string part in new[] { "to_q", "to_k", "to_v" }) b.Linear($"{name}.attn1.{part}", width, width);
            b.Linear(name + ".attn1.to_out.0", width, width);
            b.Linear(name + ".ff.net.0.proj", 4 * width, width);
            b.Linear(name + ".ff.net.2", width, 4 * width);
        }

        b.Linear("proj_out_1", 2 * width, width, ModulationGain);
        b.Linear("proj_out_2", Patch * Patch * 2 * LatentChannels, width);
        return b.Tensors;
    }
}
