using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>Everything a spatial transformer is built from.</summary>
/// <param name="ContextChannels">Width of the context; null where the blocks attend to their own tokens only.</param>
/// <param name="Depth">Transformer blocks, one after another.</param>
/// <param name="OnlyCross">Whether the first attention of each block reads the context too.</param>
/// <param name="MapChannels">Channels of the map that modulates the norm; 0 where there is none.</param>
public sealed record SpatialTransformerOptions(int Channels, int? ContextChannels, int Heads, int HeadDim, int Depth, int Groups, bool OnlyCross = false, int MapChannels = 0);

/// <summary>
/// A stack of transformer blocks over the pixels of a map (Rombach et al. 2022).
/// <code>
/// x --norm--proj_in--[transformer block] x Depth--proj_out--(+ x)--> y
/// </code>
/// x, y: [N, H, W, C], context: [N, L, ContextChannels]. The projections are stored as matrices or as 1x1 convolutions.
/// </summary>
public sealed class SpatialTransformer
{
    private const double Epsilon = 1e-6;

    private readonly SpatialTransformerOptions options;
    private readonly SpadeNorm norm;
    private readonly Linear projectIn;
    private readonly List<TransformerBlock> blocks = [];
    private readonly Linear projectOut;

    public SpatialTransformer(WeightScope w, SpatialTransformerOptions options)
    {
        this.options = options;
        int inner = options.Heads * options.HeadDim;
        norm = new(w.At("norm"), options.Channels, options.Groups, Epsilon, options.MapChannels);
        projectIn = new(w.At("proj_in"), options.Channels, inner);
        for (int i = 0; i < options.Depth; i++) blocks.Add(new(w.At($"transformer_blocks.{i}"), options));
        projectOut = new(w.At("proj_out"), inner, options.Channels);
    }

    public Value Record(Graph g, Value x, Value? context, Value? mask = null, Value? map = null)
    {
        long n = x.Shape[0], pixels = x.Shape[1] * x.Shape[2];
        var h = projectIn.Record(g, g.Reshape(norm.Record(g, x, map), n, pixels, options.Channels));
        for (int i = 0; i < blocks.Count; i++)
        {
            using (g.Layer($"transformer_blocks.{i}")) h = blocks[i].Record(g, h, context, mask, x.Shape[1], x.Shape[2]);
        }

        var y = g.Plus(projectOut.Record(g, h), g.Reshape(x, n, pixels, options.Channels));
        return g.Reshape(y, x.Shape.ToArray());
    }
}

/// <summary>
/// The transformer block of the latent diffusion U-Nets.
/// <code>
/// x --norm1--attn1--(+)--norm2--attn2(context)--(+)--norm3--ff--(+)--> y
/// +-----------------+ +-------------------------+ +-------------+
/// </code>
/// x, y: [N, T, C].
/// </summary>
public sealed class TransformerBlock
{
    private readonly bool onlyCross;
    private readonly LayerNorm norm1;
    private readonly TokenAttention attention1;
    private readonly LayerNorm norm2;
    private readonly TokenAttention attention2;
    private readonly LayerNorm norm3;
    private readonly FeedForward feedForward;

    public TransformerBlock(WeightScope w, SpatialTransformerOptions options)
    {
        int channels = options.Heads * options.HeadDim, context = options.ContextChannels ?? channels;
        onlyCross = options.OnlyCross;
        norm1 = new(w.At("norm1"), channels);
        attention1 = new(w.At("attn1"), channels, onlyCross ? context : channels, options.Heads, options.HeadDim);
        norm2 = new(w.At("norm2"), channels);
        attention2 = new(w.At("attn2"), channels, context, options.Heads, options.HeadDim);
        norm3 = new(w.At("norm3"), channels);
        feedForward = new(w.At("ff"), channels);
    }

    /// <param name="context">Null: the second attention reads the tokens themselves.</param>
    /// <param name="mask">Of the second attention. The peers leave the first one unmasked, even where it reads the context.</param>
    /// <param name="height">Of the map whose pixels the tokens are.</param>
    public Value Record(Graph g, Value x, Value? context, Value? mask, long height, long width)
    {
        Value h;
        using (g.Layer("attn1"))
        {
            h = norm1.Record(g, x);
            var y = onlyCross && context is { } read
                ? attention1.Record(g, h, read)
                : TokenMerging.Attend(g, h, height, width, t => attention1.Record(g, t, t));
            x = g.Plus(y, x);
        }

        using (g.Layer("attn2"))
        {
            var y = context is { } read
                ? NetworkCuts.CrossAttention(g, () => attention2.Record(g, norm2.Record(g, x), read, mask))
                : TokenMerging.Attend(g, norm2.Record(g, x), height, width, t => attention2.Record(g, t, t));
            x = g.Plus(y, x);
        }

        using (g.Layer("ff")) return g.Plus(feedForward.Record(g, norm3.Record(g, x)), x);
    }
}
