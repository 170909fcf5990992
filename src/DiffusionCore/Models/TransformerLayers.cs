using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>Layer normalisation with gamma and beta over the last axis. Weight names: weight [channels], bias [channels].</summary>
public sealed class LayerNorm(WeightScope w, int channels, double epsilon = LayerNorm.UsualEpsilon)
{
    public const double UsualEpsilon = 1e-5;

    private readonly WeightRef gamma = w.Tensor("weight", new Shape(channels));
    private readonly WeightRef beta = w.Tensor("bias", new Shape(channels));

    public Value Record(Graph g, Value x) => g.Add(new LayerNormOp((float)epsilon), x, g.Weight(gamma), g.Weight(beta));
}

/// <summary>
/// Attention of tokens to themselves or to a context (Vaswani et al. 2017).
/// <code>
/// x --to_q---------+
/// c --to_k--to_v---+--attention per head--to_out.0--> y
/// </code>
/// x, y: [N, T, channels], c: [N, L, contextChannels]; keys and values of a context that stays the same over a request are computed once per request.
/// </summary>
/// <param name="bias">Whether queries, keys and values have an offset; the output always has one.</param>
public sealed class TokenAttention(WeightScope w, int channels, int contextChannels, int heads, int headDim, bool bias = false)
{
    private readonly Linear query = new(w.At("to_q"), channels, heads * headDim, bias);
    private readonly Linear key = new(w.At("to_k"), contextChannels, heads * headDim, bias);
    private readonly Linear value = new(w.At("to_v"), contextChannels, heads * headDim, bias);
    private readonly Linear output = new(w.At("to_out.0"), heads * headDim, channels);

    /// <param name="mask">Added to the logits; broadcasts to [N, heads, T, L].</param>
    public Value Record(Graph g, Value x, Value context, Value? mask = null) => output.Record(
        g, g.Attention(query.Record(g, x), key.Record(g, context), value.Record(g, context), heads, 1 / Math.Sqrt(headDim), mask: mask));
}

/// <summary>What a feed-forward layer does between its two products.</summary>
public enum FeedForwardKind
{
    /// <summary>One half of the channels times the GELU of the other (Shazeer 2020).</summary>
    Geglu,
    Gelu,
    GeluTanh,
}

/// <summary>net.0.proj, activation, net.2: from channels to four times as many and back.</summary>
public sealed class FeedForward(WeightScope w, int channels, FeedForwardKind kind = FeedForwardKind.Geglu)
{
    private const int Expansion = 4;

    private readonly Linear up = new(w.At("net.0.proj"), channels, channels * Expansion * (kind == FeedForwardKind.Geglu ? 2 : 1));
    private readonly Linear down = new(w.At("net.2"), channels * Expansion, channels);

    public Value Record(Graph g, Value x)
    {
        var h = up.Record(g, x);
        return down.Record(g, kind switch
        {
            FeedForwardKind.Geglu => Gated(g, h),
            FeedForwardKind.Gelu => g.Unary(Unary.Gelu, h),
            _ => g.Unary(Unary.GeluTanh, h),
        });
    }

    private static Value Gated(Graph g, Value h)
    {
        long half = h.Shape[-1] / 2;
        return g.Times(g.Slice(h, -1, 0, half), g.Unary(Unary.Gelu, g.Slice(h, -1, half, half)));
    }
}
