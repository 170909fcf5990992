using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>What an encoder or a decoder of the VQGAN family is built from (Esser et al. 2021; Rombach et al. 2022).</summary>
/// <param name="Stem">Channels after the encoder's first convolution.</param>
/// <param name="Widths">Channels per level, the finest first. Between two levels the resolution halves.</param>
/// <param name="Blocks">Residual blocks per level of the encoder; a decoder has one more.</param>
/// <param name="Groups">Groups of every norm.</param>
/// <param name="Attention">Whether a level has attention after each residual block.</param>
/// <param name="MiddleAttention">Whether the middle has attention; it is there even where no level has any.</param>
public sealed record AutoencoderLayout(int Stem, int[] Widths, int Blocks, int Groups, bool[] Attention, bool MiddleAttention)
{
    public const double Epsilon = 1e-6;

    public int Levels => Widths.Length;

    /// <summary>Pixels of the image per pixel of the latent, along one axis.</summary>
    public int Factor => 1 << (Widths.Length - 1);

    internal ResnetOptions Resnet(int inputs, int outputs) => new(inputs, outputs, Groups, Groups, Epsilon, TimeChannels: 0);

    // One head as wide as the map has channels.
    internal SpatialAttention AttentionAt(WeightScope w, int channels) => new(w, channels, channels, Groups, Epsilon, 1);
}

/// <summary>
/// The blocks at the lowest resolution.
/// <code>x --resnets.0--[attentions.0]--resnets.1--> y</code>
/// x, y: [N, H, W, C]. Takes diffusers' names and the authors' block_1, attn_1, block_2.
/// </summary>
public sealed class AutoencoderMiddle(WeightScope w, AutoencoderLayout layout, int channels)
{
    private readonly ResnetBlock first = new(w.AtAny("resnets.0", "block_1"), layout.Resnet(channels, channels));
    private readonly SpatialAttention? attention = layout.MiddleAttention ? layout.AttentionAt(w.AtAny("attentions.0", "attn_1"), channels) : null;
    private readonly ResnetBlock last = new(w.AtAny("resnets.1", "block_2"), layout.Resnet(channels, channels));

    public Value Record(Graph g, Value x)
    {
        x = first.Record(g, x, null);
        if (attention is not null) x = attention.Record(g, x);
        return last.Record(g, x, null);
    }
}

/// <summary>
/// One level of an encoder or decoder: residual blocks, each followed by attention where the level has it.
/// Takes diffusers' names resnets.J, attentions.J and the authors' block.J, attn.J.
/// </summary>
internal sealed class AutoencoderLevel
{
    private readonly List<ResnetBlock> resnets = [];
    private readonly List<SpatialAttention> attentions = [];

    public AutoencoderLevel(WeightScope w, AutoencoderLayout layout, int inputs, int outputs, int blocks, bool attention)
    {
        for (int j = 0; j < blocks; j++)
        {
            resnets.Add(new(w.AtAny($"resnets.{j}", $"block.{j}"), layout.Resnet(j == 0 ? inputs : outputs, outputs)));
            if (attention) attentions.Add(layout.AttentionAt(w.AtAny($"attentions.{j}", $"attn.{j}"), outputs));
        }
    }

    public Value Record(Graph g, Value x)
    {
        for (int j = 0; j < resnets.Count; j++)
        {
            using (g.Layer($"resnets.{j}")) x = resnets[j].Record(g, x, null);
            if (attentions.Count == 0) continue;
            using (g.Layer($"attentions.{j}")) x = attentions[j].Record(g, x);
        }

        return x;
    }
}

/// <summary>Norm, SiLU and the last convolution of an encoder or decoder.</summary>
internal sealed class AutoencoderHead(WeightScope norm, WeightScope conv, AutoencoderLayout layout, int inputs, int outputs)
{
    private readonly Norm norm = new(norm, inputs, layout.Groups, AutoencoderLayout.Epsilon);
    private readonly Conv conv = new(conv, inputs, outputs, 3);

    public Value Record(Graph g, Value x) => conv.Record(g, g.Silu(norm.Record(g, x)));
}
