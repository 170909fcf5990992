using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// Decoder of the VQGAN family.
/// <code>z --conv_in--mid--[level n-1]--double-- ... --double--[level 0]--norm.SiLU--conv_out--> image</code>
/// z: [N, h, w, Inputs], image: [N, h*Factor, w*Factor, Outputs]. Doubling repeats pixels, then convolves 3x3.
/// diffusers numbers the levels in the order in which they run (up_blocks.0 is the coarsest), the authors by resolution (up.0 is the finest).
/// </summary>
public sealed class AutoencoderDecoder
{
    private readonly string layer;
    private readonly Conv convIn;
    private readonly AutoencoderMiddle middle;
    private readonly List<AutoencoderLevel> levels = [];
    private readonly List<Conv> doublings = [];
    private readonly AutoencoderHead head;
    private readonly int attentionLevels;

    /// <param name="layer">How plans call it.</param>
    public AutoencoderDecoder(WeightScope w, AutoencoderLayout layout, int inputs, int outputs, string layer = "decoder")
    {
        this.layer = layer;
        int channels = layout.Widths[^1];
        convIn = new(w.At("conv_in"), inputs, channels, 3);
        middle = new(w.AtAny("mid_block", "mid"), layout, channels);
        for (int i = 0; i < layout.Levels; i++)
        {
            int authors = layout.Levels - 1 - i;
            var level = w.AtAny($"up_blocks.{i}", $"up.{authors}");
            levels.Add(new(level, layout, channels, layout.Widths[authors], layout.Blocks + 1, layout.Attention[authors]));
            channels = layout.Widths[authors];
            if (layout.Attention[authors]) attentionLevels = i + 1;
            if (authors > 0) doublings.Add(new(level.AtAny("upsamplers.0.conv", "upsample.conv"), channels, channels, 3));
        }

        head = new(w.AtAny("conv_norm_out", "norm_out"), w.At("conv_out"), layout, channels, outputs);
    }

    public Value Record(Graph g, Value z) => RecordTail(g, RecordHead(g, z, 0), 0);

    /// <summary>Everything before the last <paramref name="doublings"/>; at least the coarsest level and every level with attention.</summary>
    public Value RecordHead(Graph g, Value z, int doublings)
    {
        using var scope = g.Layer(layer);
        Value x;
        using (g.Layer("conv_in")) x = convIn.Record(g, z);
        using (g.Layer("mid_block")) x = middle.Record(g, x);
        for (int i = 0; i < HeadLevels(doublings); i++)
        {
            if (i > 0) x = Double(g, i - 1, x);
            using (g.Layer($"up_blocks.{i}")) x = levels[i].Record(g, x);
        }

        return x;
    }

    /// <summary>Everything after <see cref="RecordHead"/>.</summary>
    public Value RecordTail(Graph g, Value x, int doublings)
    {
        using var scope = g.Layer(layer);
        for (int i = HeadLevels(doublings); i < levels.Count; i++)
        {
            x = Double(g, i - 1, x);
            using (g.Layer($"up_blocks.{i}")) x = levels[i].Record(g, x);
        }

        using (g.Layer("conv_out")) return head.Record(g, x);
    }

    private int HeadLevels(int doublings) => Math.Max(1, Math.Max(levels.Count - doublings, attentionLevels));

    private Value Double(Graph g, int i, Value x)
    {
        using var level = g.Layer($"up_blocks.{i}.upsamplers.0");
        return doublings[i].Record(g, Resampling.Nearest2x(g, x));
    }
}
