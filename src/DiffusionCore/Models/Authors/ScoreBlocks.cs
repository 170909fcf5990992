using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>Parts that the layers of score_sde share.</summary>
internal static class ScoreLayers
{
    private const int GroupsAtMost = 32;
    private const double Epsilon = 1e-6;

    public static Norm NormOf(WeightScope w, int channels) => new(w, channels, Math.Min(channels / 4, GroupsAtMost), Epsilon);

    /// <summary>a + b, over sqrt(2) where the network rescales its sums.</summary>
    public static Value Sum(this ScoreConfig config, Graph g, Value a, Value b) => g.Affine(g.Plus(a, b), config.Rescale ? Math.Sqrt(0.5) : 1);

    public static Value Up(this ScoreConfig config, Graph g, Value x) => config.Filter is { } taps ? new FirFilter(taps).Up(g, x) : Resampling.Nearest2x(g, x);

    public static Value Down(this ScoreConfig config, Graph g, Value x) => config.Filter is { } taps ? new FirFilter(taps).Down(g, x) : Resampling.Average2x(g, x);
}

/// <summary>
/// The residual block of NCSN++ (Song et al. 2021), after BigGAN.
/// <code>
/// x --GroupNorm_0.act--[resample]--Conv_0--(+ Dense_0(act(temb)))--GroupNorm_1.act--Conv_1--(+)--(/ sqrt 2)--> y
/// +--[resample]--[Conv_2]--------------------------------------------------------------------+
/// </code>
/// x: [N, H, W, inputs], y: [N, H', W', outputs].
/// </summary>
internal sealed class ScoreBlock
{
    private readonly ScoreConfig config;
    private readonly BlockResample resample;
    private readonly Norm norm0;
    private readonly Conv conv0;
    private readonly Linear? dense;
    private readonly Norm norm1;
    private readonly Conv conv1;
    private readonly Conv? shortcut;

    public ScoreBlock(WeightScope w, ScoreConfig config, int inputs, int outputs, BlockResample resample = BlockResample.None)
    {
        this.config = config;
        this.resample = resample;
        norm0 = ScoreLayers.NormOf(w.At("GroupNorm_0"), inputs);
        conv0 = new(w.At("Conv_0"), inputs, outputs, 3);
        if (config.Conditional) dense = new(w.At("Dense_0"), 4 * config.Features, outputs);
        norm1 = ScoreLayers.NormOf(w.At("GroupNorm_1"), outputs);
        conv1 = new(w.At("Conv_1"), outputs, outputs, 3);
        if (inputs != outputs || resample != BlockResample.None) shortcut = new(w.At("Conv_2"), inputs, outputs, 1);
    }

    /// <param name="activated">act(temb), computed once for all blocks.</param>
    public Value Record(Graph g, Value x, Value? activated)
    {
        var h = conv0.Record(g, Resampled(g, g.Silu(norm0.Record(g, x))));
        x = Resampled(g, x);
        if (dense is not null && activated is { } t)
        {
            var emb = dense.Record(g, t);
            h = g.Plus(h, g.Reshape(emb, emb.Shape[0], 1, 1, emb.Shape[1]));
        }

        h = conv1.Record(g, g.Silu(norm1.Record(g, h)));
        return config.Sum(g, h, shortcut is null ? x : shortcut.Record(g, x));
    }

    private Value Resampled(Graph g, Value x) => resample switch
    {
        BlockResample.Up => config.Up(g, x),
        BlockResample.Down => config.Down(g, x),
        _ => x,
    };
}

/// <summary>A linear layer whose matrix files hold as [inputs, outputs]. Weight names: W, b.</summary>
internal sealed class ScoreLinear
{
    private readonly ComputedWeight weight;
    private readonly WeightRef bias;

    public ScoreLinear(WeightScope w, int channels)
    {
        var stored = w.Tensor("W", new Shape(channels, channels));
        bias = w.Tensor("b", new Shape(channels));
        weight = new(stored.Name, stored.Type.Shape, () =>
        {
            double[] x = Interpreter.ReadWeight(stored), y = new double[x.Length];
            for (int i = 0; i < channels; i++)
                for (int j = 0; j < channels; j++) y[j * channels + i] = x[i * channels + j];
            return y;
        }, stored);
    }

    public Value Record(Graph g, Value x) => g.Linear(x, g.Weight(weight), g.Weight(bias));
}

/// <summary>One-headed attention over the pixels: GroupNorm_0, NIN_0 to NIN_2 for queries, keys and values, NIN_3. x, y: [N, H, W, C].</summary>
internal sealed class ScoreAttention(WeightScope w, ScoreConfig config, int channels)
{
    private readonly Norm norm = ScoreLayers.NormOf(w.At("GroupNorm_0"), channels);
    private readonly ScoreLinear query = new(w.At("NIN_0"), channels);
    private readonly ScoreLinear key = new(w.At("NIN_1"), channels);
    private readonly ScoreLinear value = new(w.At("NIN_2"), channels);
    private readonly ScoreLinear output = new(w.At("NIN_3"), channels);

    public Value Record(Graph g, Value x)
    {
        long n = x.Shape[0], pixels = x.Shape[1] * x.Shape[2];
        var tokens = g.Reshape(norm.Record(g, x), n, pixels, channels);
        var y = TokenMerging.Attend(g, tokens, x.Shape[1], x.Shape[2], t =>
            output.Record(g, g.Attention(query.Record(g, t), key.Record(g, t), value.Record(g, t), 1, 1 / Math.Sqrt(channels))));
        return g.Reshape(config.Sum(g, y, g.Reshape(x, n, pixels, channels)), x.Shape.ToArray());
    }
}
