using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>y = x W^T + b. Weight names: weight [outputs, inputs], bias [outputs].</summary>
public sealed class Linear(WeightScope w, int inputs, int outputs, bool bias = true)
{
    // Files from before 2023 hold attention projections as 1x1 convolutions.
    private readonly WeightRef weight = w.TensorSqueezed("weight", new Shape(outputs, inputs));
    private readonly WeightRef? offset = bias ? w.Tensor("bias", new Shape(outputs)) : null;

    public Value Record(Graph g, Value x) => g.Linear(x, g.Weight(weight), offset is null ? null : g.Weight(offset));
}

/// <summary>Convolution, channels last. Weight names: weight [outputs, inputs, kernel, kernel], bias [outputs].</summary>
public sealed class Conv(WeightScope w, int inputs, int outputs, int kernel, int stride = 1, int? padding = null, bool bias = true)
{
    private readonly WeightRef weight = w.Tensor("weight", new Shape(outputs, inputs, kernel, kernel));
    private readonly WeightRef? offset = bias ? w.Tensor("bias", new Shape(outputs)) : null;

    public Value Record(Graph g, Value x)
    {
        int p = padding ?? kernel / 2;
        return Record(g, x, p, p);
    }

    /// <summary>With other padding before (top, left) than after (bottom, right).</summary>
    public Value Record(Graph g, Value x, int before, int after) => g.Conv2d(
        x, g.Weight(weight), offset is null ? null : g.Weight(offset),
        new Conv2dOp(true, stride, stride, before, before, after, after));
}

/// <summary>Group normalisation with gamma and beta. Weight names: weight [channels], bias [channels].</summary>
public sealed class Norm(WeightScope w, int channels, int groups, double epsilon)
{
    private readonly WeightRef gamma = w.Tensor("weight", new Shape(channels));
    private readonly WeightRef beta = w.Tensor("bias", new Shape(channels));
    private readonly int groups = groups >= 1 && channels % groups == 0 ? groups : throw w.Error($"{groups} groups do not divide {channels} channels; config.json gives widths that this kind of block cannot have");

    public Value Record(Graph g, Value x) => g.GroupNorm(x, g.Weight(gamma), g.Weight(beta), groups, epsilon);
}

/// <summary>linear_1, activation, linear_2: from a sinusoid to the embedding that the blocks read.</summary>
/// <param name="conditionChannels">Width of a vector that cond_proj adds to the sinusoid, such as an embedded guidance weight; 0 where there is none.</param>
public sealed class TimestepEmbedding(WeightScope w, int inputs, int channels, Unary activation = Unary.Silu, int conditionChannels = 0)
{
    private readonly Linear linear1 = new(w.At("linear_1"), inputs, channels);
    private readonly Linear? projection = conditionChannels > 0 ? new(w.At("cond_proj"), conditionChannels, inputs, bias: false) : null;
    private readonly Linear linear2 = new(w.At("linear_2"), channels, channels);

    public Value Record(Graph g, Value x, Value? condition = null)
    {
        if (projection is not null && condition is { } c) x = g.Plus(x, projection.Record(g, c));
        return linear2.Record(g, g.Unary(activation, linear1.Record(g, x)));
    }
}

/// <summary>
/// Self-attention over the pixels of a map, with its norm and residual.
/// <code>
/// x --group_norm--+--to_q--+
///                 +--to_k--+--attention--to_out.0--(+ x)--(/ scale)--> y
///                 +--to_v--+
/// </code>
/// x, y: [N, H, W, C]; without groups there is no norm. Takes the older key names query, key, value, proj_attn and
/// the authors' q, k, v, proj_out, norm too.
/// </summary>
public sealed class SpatialAttention(WeightScope w, int channels, int headDim, int? groups, double epsilon, double outputScale)
{
    private readonly Norm? norm = groups is { } g ? new(w.AtAny("group_norm", "norm"), channels, g, epsilon) : null;
    private readonly Linear query = new(w.AtAny("to_q", "query", "q"), channels, channels);
    private readonly Linear key = new(w.AtAny("to_k", "key", "k"), channels, channels);
    private readonly Linear value = new(w.AtAny("to_v", "value", "v"), channels, channels);
    private readonly Linear output = new(w.AtAny("to_out.0", "proj_attn", "proj_out"), channels, channels);

    public Value Record(Graph g, Value x)
    {
        long n = x.Shape[0], pixels = x.Shape[1] * x.Shape[2];
        var tokens = g.Reshape(norm is null ? x : norm.Record(g, x), n, pixels, channels);
        var y = TokenMerging.Attend(g, tokens, x.Shape[1], x.Shape[2], t =>
            output.Record(g, g.Attention(query.Record(g, t), key.Record(g, t), value.Record(g, t), channels / headDim, 1 / Math.Sqrt(headDim))));
        y = g.Plus(y, g.Reshape(x, n, pixels, channels));
        return g.Reshape(g.Affine(y, 1 / outputScale), x.Shape.ToArray());
    }
}
