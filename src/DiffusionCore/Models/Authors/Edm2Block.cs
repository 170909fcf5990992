using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The block of EDM2 (Karras et al. 2024, figure 21).
/// <code>
/// encoder: x --[resample]--[conv_skip]--pixel norm--+--silu--conv_res0--(* c)--silu--conv_res1--(mix)--[attention--(mix)]--clip--> y
/// decoder: x --[resample]--+--silu--conv_res0--(* c)--silu--conv_res1--(mix)--...
///                          +--[conv_skip]-------------------------------+
/// c = emb_linear(emb) * emb_gain + 1
/// </code>
/// x: [N, H, W, inputs], y: [N, H', W', outputs]; every operation keeps the magnitude.
/// </summary>
internal sealed class Edm2Block
{
    private readonly Edm2Config config;
    private readonly bool encoder;
    private readonly BlockResample resample;
    private readonly FirFilter filter;
    private readonly MagnitudeConv? skip;
    private readonly MagnitudeConv conv0;
    private readonly MagnitudeLinear embedding;
    private readonly MagnitudeConv conv1;
    private readonly int heads;
    private readonly QkvProjection? qkv;
    private readonly MagnitudeLinear? output;

    public Edm2Block(WeightScope w, Edm2Config config, bool encoder, int inputs, int outputs, bool attends = false, BlockResample resample = BlockResample.None)
    {
        this.config = config;
        this.encoder = encoder;
        this.resample = resample;
        filter = new(config.Filter);
        conv0 = new(w.At("conv_res0"), encoder ? outputs : inputs, outputs, 3);
        embedding = new(w.At("emb_linear"), config.EmbeddingChannels, outputs, w.Tensor("emb_gain", new Shape([])));
        conv1 = new(w.At("conv_res1"), outputs, outputs, 3);
        if (inputs != outputs) skip = new(w.At("conv_skip"), inputs, outputs, 1);
        heads = attends ? outputs / config.HeadChannels : 0;
        if (heads == 0) return;
        if (outputs % heads != 0) throw w.Error($"{heads} heads do not divide {outputs} channels");
        qkv = new(new MagnitudeLinear(w.At("attn_qkv"), outputs, 3 * outputs).Weight, null, outputs, heads, QkvOrder.HeadChannelPart);
        output = new(w.At("attn_proj"), outputs, outputs);
    }

    public Value Record(Graph g, Value x, Value emb)
    {
        x = filter.Resample(g, x, resample);
        if (encoder)
        {
            if (skip is not null) x = skip.Record(g, x);
            x = g.PixelNorm(x);
        }

        var c = g.Affine(embedding.Record(g, emb), 1, 1);
        var y = g.Times(conv0.Record(g, g.MpSilu(x)), g.Reshape(c, c.Shape[0], 1, 1, c.Shape[1]));
        y = conv1.Record(g, g.MpSilu(y));
        if (!encoder && skip is not null) x = skip.Record(g, x);
        x = g.MpSum(x, y, config.ResidualBalance);
        if (qkv is not null) x = Attend(g, x);
        return config.Clip > 0 ? g.Binary(Binary.Max, g.Binary(Binary.Min, x, g.Constant([(float)config.Clip], new Shape(1))), g.Constant([(float)-config.Clip], new Shape(1))) : x;
    }

    // Cosine attention: queries, keys and values are normalised per head.
    private Value Attend(Graph g, Value x)
    {
        long n = x.Shape[0], pixels = x.Shape[1] * x.Shape[2], channels = x.Shape[3];
        var tokens = g.Reshape(x, n, pixels, channels);
        var y = g.Attention(Unit(qkv!.Query(g, tokens)), Unit(qkv.Key(g, tokens)), Unit(qkv.Values(g, tokens)), heads, 1 / Math.Sqrt(channels / heads));
        return g.Reshape(g.MpSum(tokens, output!.Record(g, y), config.AttentionBalance), x.Shape.ToArray());

        Value Unit(Value part) => g.Reshape(g.PixelNorm(g.Reshape(part, n, pixels, heads, channels / heads)), n, pixels, channels);
    }
}
