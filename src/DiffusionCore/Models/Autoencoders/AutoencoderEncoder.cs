using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The way down of an encoder: what every level makes of the image, before it is halved.
/// <code>image --conv_in--[level 0]--halve--[level 1]--halve-- ... --[level n-1]</code>
/// Halving pads one row below and one column to the right, and convolves 3x3 with stride 2.
/// Takes diffusers' names down_blocks.L and the authors' down.L.
/// </summary>
internal sealed class AutoencoderDown
{
    private readonly Conv convIn;
    private readonly List<AutoencoderLevel> levels = [];
    private readonly List<Conv> halvings = [];

    public AutoencoderDown(WeightScope w, AutoencoderLayout layout, int inputs)
    {
        convIn = new(w.At("conv_in"), inputs, layout.Stem, 3);
        int channels = layout.Stem;
        for (int i = 0; i < layout.Levels; i++)
        {
            var level = w.AtAny($"down_blocks.{i}", $"down.{i}");
            levels.Add(new(level, layout, channels, layout.Widths[i], layout.Blocks, layout.Attention[i]));
            channels = layout.Widths[i];
            if (i < layout.Levels - 1) halvings.Add(new(level.AtAny("downsamplers.0.conv", "downsample.conv"), channels, channels, 3, stride: 2));
        }
    }

    /// <summary>The last feature of every level, the finest first.</summary>
    public Value[] Record(Graph g, Value x)
    {
        using (g.Layer("conv_in")) x = convIn.Record(g, x);
        var features = new Value[levels.Count];
        for (int i = 0; i < levels.Count; i++)
        {
            using var scope = g.Layer($"down_blocks.{i}");
            x = features[i] = levels[i].Record(g, x);
            if (i == halvings.Count) continue;
            using (g.Layer("downsamplers.0")) x = halvings[i].Record(g, x, 0, 1);
        }

        return features;
    }
}

/// <summary>
/// Encoder of the VQGAN family.
/// <code>image --conv_in--levels--mid--norm.SiLU--conv_out--> y</code>
/// image: [N, H, W, Inputs], y: [N, H/Factor, W/Factor, Outputs].
/// </summary>
public sealed class AutoencoderEncoder(WeightScope w, AutoencoderLayout layout, int inputs, int outputs)
{
    private readonly AutoencoderDown down = new(w, layout, inputs);
    private readonly AutoencoderMiddle middle = new(w.AtAny("mid_block", "mid"), layout, layout.Widths[^1]);
    private readonly AutoencoderHead head = new(w.AtAny("conv_norm_out", "norm_out"), w.At("conv_out"), layout, layout.Widths[^1], outputs);

    public Value Record(Graph g, Value image)
    {
        using var scope = g.Layer("encoder");
        var x = down.Record(g, image)[^1];
        using (g.Layer("mid_block")) x = middle.Record(g, x);
        using (g.Layer("conv_out")) return head.Record(g, x);
    }
}
