using System.Text.Json;
using DiffusionCore.Json;

namespace DiffusionCore.Synthesis;

/// <summary>The first stage of Stable Diffusion by its sizes; names and shapes are diffusers'.</summary>
public sealed record AutoencoderPlan(int[] Widths, int Layers, double ScalingFactor, int SampleSize)
{
    private const int ImageChannels = 3, LatentChannels = 4;

    // Pixels come out with a deviation of about a half: most of them inside [-1, 1].
    private const float OutputGain = 0.8f;

    public void Config(Utf8JsonWriter w)
    {
        w.WriteString("_class_name", "AutoencoderKL");
        w.WriteNumber("in_channels", ImageChannels);
        w.WriteNumber("out_channels", ImageChannels);
        w.WriteStrings("down_block_types", Widths.Select(_ => "DownEncoderBlock2D"));
        w.WriteStrings("up_block_types", Widths.Select(_ => "UpDecoderBlock2D"));
        w.WriteNumbers("block_out_channels", Widths);
        w.WriteNumber("layers_per_block", Layers);
        w.WriteString("act_fn", "silu");
        w.WriteNumber("latent_channels", LatentChannels);
        w.WriteNumber("norm_num_groups", 32);
        w.WriteNumber("sample_size", SampleSize);
        w.WriteNumber("scaling_factor", ScalingFactor);
    }

    public IReadOnlyList<TensorPlan> Tensors()
    {
        var b = new LayoutBuilder();
        int last = Widths.Length - 1, channels = Widths[0];
        b.Conv("encoder.conv_in", channels, ImageChannels, 3);
        for (int i = 0; i <= last; i++)
        {
            for (int j = 0; j < Layers; j++)
            {
                Resnet(b, $"encoder.down_blocks.{i}.resnets.{j}", channels, Widths[i]);
                channels = Widths[i];
            }

            if (i < last) b.Conv($"encoder.down_blocks.{i}.downsamplers.0.conv", channels, channels, 3);
        }

        Middle(b, "encoder.mid_block", channels);
        b.Norm("encoder.conv_norm_out", channels);
        b.Conv("encoder.conv_out", 2 * LatentChannels, channels, 3);
        b.Conv("quant_conv", 2 * LatentChannels, 2 * LatentChannels, 1);
        b.Conv("post_quant_conv", LatentChannels, LatentChannels, 1);
        b.Conv("decoder.conv_in", channels, LatentChannels, 3);
        Middle(b, "decoder.mid_block", channels);
        for (int i = 0; i <= last; i++)
        {
            for (int j = 0; j <= Layers; j++)
            {
                Resnet(b, $"decoder.up_blocks.{i}.resnets.{j}", channels, Widths[last - i]);
                channels = Widths[last - i];
            }

            if (i < last) b.Conv($"decoder.up_blocks.{i}.upsamplers.0.conv", channels, channels, 3);
        }

        b.Norm("decoder.conv_norm_out", channels);
        b.Conv("decoder.conv_out", ImageChannels, channels, 3, OutputGain);
        return b.Tensors;
    }

    private static void Middle(LayoutBuilder b, string name, int channels)
    {
        Resnet(b, name + ".resnets.0", channels, channels);
        b.Norm(name + ".attentions.0.group_norm", channels);
        foreach (string part in new[] { "to_q", "to_k", "to_v" }) b.Linear($"{name}.attentions.0.{part}", channels, channels);
        b.Linear(name + ".attentions.0.to_out.0", channels, channels, LayoutBuilder.Branch);
        Resnet(b, name + ".resnets.1", channels, channels);
    }

    private static void Resnet(LayoutBuilder b, string name, int inputs, int outputs)
    {
        b.Norm(name + ".norm1", inputs);
        b.Conv(name + ".conv1", outputs, inputs, 3);
        b.Norm(name + ".norm2", outputs);
        b.Conv(name + ".conv2", outputs, outputs, 3, LayoutBuilder.Branch);
        if (inputs != outputs) b.Conv(name + ".conv_shortcut", outputs, inputs, 1);
    }
}
