using System.Text.Json;
using DiffusionCore.Json;

namespace DiffusionCore.Synthesis;

/// <summary>The U-Net of Stable Diffusion by its sizes; names and shapes are diffusers'.</summary>
/// <param name="Widths">Channels of the levels, finest first.</param>
/// <param name="Layers">Residual blocks of a level.</param>
/// <param name="Depths">Transformer blocks of a level's attention, 0 for none; the middle has as many as the coarsest level, at least one.</param>
/// <param name="Heads">Of each level.</param>
/// <param name="Context">Width of the text's states.</param>
/// <param name="LinearProjection">Whether a transformer is entered and left by a matrix (SD 2, SDXL) or by a 1x1 convolution (SD 1).</param>
/// <param name="Added">Width of pooled text and sizes (SDXL); 0 for none.</param>
public sealed record UNetPlan(int[] Widths, int Layers, int[] Depths, int[] Heads, int Context, bool LinearProjection, int Added, int SampleSize)
{
    private const int LatentChannels = 4, AddedTimeChannels = 256;

    private int TimeChannels => 4 * Widths[0];

    // Images come out with about the deviation of noise.
    private const float OutputGain = 1.6f;

    public void Config(Utf8JsonWriter w)
    {
        w.WriteString("_class_name", "UNet2DConditionModel");
        w.WriteNumber("sample_size", SampleSize);
        w.WriteNumber("in_channels", LatentChannels);
        w.WriteNumber("out_channels", LatentChannels);
        w.WriteStrings("down_block_types", Depths.Select(d => d > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        w.WriteString("mid_block_type", "UNetMidBlock2DCrossAttn");
        w.WriteStrings("up_block_types", Depths.Reverse().Select(d => d > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D"));
        w.WriteNumbers("block_out_channels", Widths);
        w.WriteNumber("layers_per_block", Layers);
        w.WriteNumbers("transformer_layers_per_block", [.. Depths.Select(d => Math.Max(d, 1))]);
        w.WriteNumber("cross_attention_dim", Context);
        w.WriteNumbers("attention_head_dim", Heads);
        w.WriteBoolean("use_linear_projection", LinearProjection);
        w.WriteBoolean("flip_sin_to_cos", true);
        w.WriteNumber("freq_shift", 0);
        w.WriteNumber("downsample_padding", 1);
        w.WriteNumber("mid_block_scale_factor", 1);
        w.WriteString("act_fn", "silu");
        w.WriteNumber("norm_num_groups", 32);
        w.WriteNumber("norm_eps", 1e-5);
        if (Added == 0) return;
        w.WriteString("addition_embed_type", "text_time");
        w.WriteNumber("addition_time_embed_dim", AddedTimeChannels);
        w.WriteNumber("projection_class_embeddings_input_dim", Added);
    }

    public IReadOnlyList<TensorPlan> Tensors()
    {
        var b = new LayoutBuilder();
        b.Conv("conv_in", Widths[0], LatentChannels, 3);
        b.Linear("time_embedding.linear_1", TimeChannels, Widths[0]);
        b.Linear("time_embedding.linear_2", TimeChannels, TimeChannels);
        if (Added > 0)
        {
            b.Linear("add_embedding.linear_1", TimeChannels, Added);
            b.Linear("add_embedding.linear_2", TimeChannels, TimeChannels);
        }

        // What the way down leaves for the way up, in the order in which it is made.
        var skips = new Stack<int>([Widths[0]]);
        int channels = Widths[0], last = Widths.Length - 1;
        for (int i = 0; i <= last; i++)
        {
            for (int j = 0; j < Layers; j++)
            {
                Resnet(b, $"down_blocks.{i}.resnets.{j}", channels, Widths[i]);
                if (Depths[i] > 0) Transformer(b, $"down_blocks.{i}.attentions.{j}", Widths[i], Depths[i]);
                skips.Push(channels = Widths[i]);
            }

            if (i == last) break;
            b.Conv($"down_blocks.{i}.downsamplers.0.conv", channels, channels, 3);
            skips.Push(channels);
        }

        Resnet(b, "mid_block.resnets.0", channels, channels);
        Transformer(b, "mid_block.attentions.0", channels, Math.Max(Depths[last], 1));
        Resnet(b, "mid_block.resnets.1", channels, channels);
        for (int i = 0; i <= last; i++)
        {
            int level = last - i;
            for (int j = 0; j <= Layers; j++)
            {
                Resnet(b, $"up_blocks.{i}.resnets.{j}", channels + skips.Pop(), Widths[level]);
                channels = Widths[level];
                if (Depths[level] > 0) Transformer(b, $"up_blocks.{i}.attentions.{j}", channels, Depths[level]);
            }

            if (level > 0) b.Conv($"up_blocks.{i}.upsamplers.0.conv", channels, channels, 3);
        }

        b.Norm("conv_norm_out", Widths[0]);
        b.Conv("conv_out", LatentChannels, Widths[0], 3, OutputGain);
        return b.Tensors;
    }

    private void Resnet(LayoutBuilder b, string name, int inputs, int outputs)
    {
        b.Norm(name + ".norm1", inputs);
        b.Conv(name + ".conv1", outputs, inputs, 3);
        b.Linear(name + ".time_emb_proj", outputs, TimeChannels);
        b.Norm(name + ".norm2", outputs);
        b.Conv(name + ".conv2", outputs, outputs, 3, LayoutBuilder.Branch);
        if (inputs != outputs) b.Conv(name + ".conv_shortcut", outputs, inputs, 1);
    }

    private void Transformer(LayoutBuilder b, string name, int width, int depth)
    {
        b.Norm(name + ".norm", width);
        Projection("proj_in", 1);
        for (int d = 0; d < depth; d++)
        {
            string block = $"{name}.transformer_blocks.{d}";
            Attention(b, block + ".attn1", width, width);
            Attention(b, block + ".attn2", width, Context);
            b.Linear(block + ".ff.net.0.proj", 8 * width, width);
            b.Linear(block + ".ff.net.2", width, 4 * width, LayoutBuilder.Branch);
            for (int n = 1; n <= 3; n++) b.Norm($"{block}.norm{n}", width);
        }

        Projection("proj_out", LayoutBuilder.Branch);

        void Projection(string part, float gain)
        {
            if (LinearProjection) b.Linear($"{name}.{part}", width, width, gain);
            else b.Conv($"{name}.{part}", width, width, 1, gain);
        }
    }

    private static void Attention(LayoutBuilder b, string name, int width, int context)
    {
        b.Linear(name + ".to_q", width, width, bias: false);
        b.Linear(name + ".to_k", width, context, bias: false);
        b.Linear(name + ".to_v", width, context, bias: false);
        b.Linear(name + ".to_out.0", width, width, LayoutBuilder.Branch);
    }
}
