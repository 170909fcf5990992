using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>How the rows of a fused projection lie: of head h, part i (query, key, value), channel d.</summary>
internal enum QkvOrder
{
    /// <summary>Heads first: ((h * 3) + i) * D + d.</summary>
    HeadPartChannel,

    /// <summary>Parts first: (i * H + h) * D + d.</summary>
    PartHeadChannel,

    /// <summary>Parts innermost: ((h * D) + d) * 3 + i.</summary>
    HeadChannelPart,
}

/// <summary>A projection to queries, keys and values that files hold as one tensor [3 C, C], taken apart when it is loaded.</summary>
internal sealed class QkvProjection
{
    private static readonly string[] Parts = ["q", "k", "v"];

    private readonly IWeightSource[] weights = new IWeightSource[3];
    private readonly IWeightSource?[] offsets = new IWeightSource?[3];

    public QkvProjection(IWeightSource weight, IWeightSource? bias, int channels, int heads, QkvOrder order)
    {
        for (int i = 0; i < 3; i++)
        {
            int[] rows = Rows(channels, heads, order, i);
            weights[i] = new WeightRows(weight, Parts[i], rows);
            if (bias is not null) offsets[i] = new WeightRows(bias, Parts[i], rows);
        }
    }

    public static QkvProjection Of(WeightScope w, int channels, int heads, QkvOrder order) =>
        new(w.TensorSqueezed("weight", new Shape(3 * channels, channels)), w.Tensor("bias", new Shape(3 * channels)), channels, heads, order);

    public Value Query(Graph g, Value x) => Part(g, x, 0);

    public Value Key(Graph g, Value x) => Part(g, x, 1);

    public Value Values(Graph g, Value x) => Part(g, x, 2);

    private Value Part(Graph g, Value x, int i) => g.Linear(x, g.Weight(weights[i]), offsets[i] is { } b ? g.Weight(b) : null);

    private static int[] Rows(int channels, int heads, QkvOrder order, int i)
    {
        int dim = channels / heads;
        return [.. Enumerable.Range(0, channels).Select(c => order switch
        {
            QkvOrder.HeadPartChannel => (c / dim * 3 + i) * dim + c % dim,
            QkvOrder.PartHeadChannel => i * channels + c,
            _ => c * 3 + i,
        })];
    }
}

/// <summary>
/// Self-attention over the pixels of a map with one tensor for queries, keys and values.
/// <code>x --norm--qkv--attention--proj_out--(+ x)--(* scale)--> y</code>
/// x, y: [N, H, W, C].
/// </summary>
internal sealed class QkvAttention(Norm norm, QkvProjection qkv, Linear output, int channels, int heads, double outputScale = 1)
{
    public Value Record(Graph g, Value x)
    {
        long n = x.Shape[0], pixels = x.Shape[1] * x.Shape[2];
        var tokens = g.Reshape(norm.Record(g, x), n, pixels, channels);
        var y = TokenMerging.Attend(g, tokens, x.Shape[1], x.Shape[2], t =>
            output.Record(g, g.Attention(qkv.Query(g, t), qkv.Key(g, t), qkv.Values(g, t), heads, 1 / Math.Sqrt(channels / heads))));
        y = g.Plus(y, g.Reshape(x, n, pixels, channels));
        return g.Reshape(g.Affine(y, outputScale), x.Shape.ToArray());
    }
}
