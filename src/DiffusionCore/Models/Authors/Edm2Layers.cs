using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The magnitude-preserving operations of EDM2 (Karras et al. 2024): every one leaves the expected magnitude of its input alone.
/// </summary>
internal static class Magnitude
{
    public const double Epsilon = 1e-4;
    private const double SiluGain = 0.596;

    /// <summary>SiLU over its gain (equation 81).</summary>
    public static Value MpSilu(this Graph g, Value x) => g.Affine(g.Silu(x), 1 / SiluGain);

    /// <summary>(1 - t) a + t b over its gain (equation 88).</summary>
    public static Value MpSum(this Graph g, Value a, Value b, double t)
    {
        double gain = 1 / Math.Sqrt((1 - t) * (1 - t) + t * t);
        return g.Plus(g.Affine(b, t * gain), g.Affine(a, (1 - t) * gain));
    }

    /// <summary>a beside b in the channels, each scaled for its share (equation 103).</summary>
    public static Value MpConcat(this Graph g, Value a, Value b, double t)
    {
        double na = a.Shape[-1], nb = b.Shape[-1], gain = Math.Sqrt((na + nb) / ((1 - t) * (1 - t) + t * t));
        return g.Concat(-1, g.Affine(a, gain / Math.Sqrt(na) * (1 - t)), g.Affine(b, gain / Math.Sqrt(nb) * t));
    }

    /// <summary>Every pixel's vector at unit root mean square.</summary>
    public static Value PixelNorm(this Graph g, Value x) => g.Add(new RmsNormOp((float)Epsilon, Affine: false, Outside: true), x);
}

/// <summary>
/// A weight of EDM2 as the network uses it: each output's row at unit magnitude, over the root of its length, times a learned gain. Files hold it raw;
/// it is computed once, when it is loaded.
/// </summary>
internal static class MagnitudeWeight
{
    public static ComputedWeight Of(WeightRef raw, WeightRef? gain)
    {
        return new(raw.Name, raw.Type.Shape, () =>
        {
            double[] w = Interpreter.ReadWeight(raw);
            double factor = gain is null ? 1 : Interpreter.ReadWeight(gain)[0];
            int rows = checked((int)raw.Type.Shape[0]), row = w.Length / rows;
            for (int i = 0; i < rows; i++)
            {
                var r = w.AsSpan(i * row, row);
                double square = 0;
                foreach (double v in r) square += v * v;
                double scale = factor / ((Magnitude.Epsilon + Math.Sqrt(square / row)) * Math.Sqrt(row));
                foreach (ref double v in r) v *= scale;
            }

            return w;
        }, gain is null ? [raw] : [raw, gain]);
    }
}

/// <summary>A linear layer without offset whose rows have unit magnitude. Weight names: weight, and the gain where there is one.</summary>
internal sealed class MagnitudeLinear(WeightScope w, int inputs, int outputs, WeightRef? gain = null)
{
    private readonly ComputedWeight weight = MagnitudeWeight.Of(w.TensorSqueezed("weight", new Shape(outputs, inputs)), gain);

    public IWeightSource Weight => weight;

    public Value Record(Graph g, Value x) => g.Linear(x, g.Weight(weight));
}

/// <summary>A convolution without offset whose kernels have unit magnitude.</summary>
internal sealed class MagnitudeConv(WeightScope w, int inputs, int outputs, int kernel, WeightRef? gain = null)
{
    private readonly ComputedWeight weight = MagnitudeWeight.Of(w.Tensor("weight", new Shape(outputs, inputs, kernel, kernel)), gain);

    public Value Record(Graph g, Value x)
    {
        int p = kernel / 2;
        return g.Conv2d(x, g.Weight(weight), null, new Conv2dOp(false, 1, 1, p, p, p, p));
    }
}

/// <summary>sqrt(2) cos(f x + phase). x: [N], y: [N, channels].</summary>
internal sealed class MagnitudeFourier(WeightScope w, int channels)
{
    private readonly WeightRef frequencies = w.Tensor("freqs", new Shape(channels));
    private readonly WeightRef phases = w.Tensor("phases", new Shape(channels));

    public Value Record(Graph g, Value x)
    {
        var angle = g.Plus(g.Times(g.Reshape(x, x.Shape[0], 1), g.Stored(frequencies)), g.Stored(phases));
        return g.Affine(g.Unary(Unary.Cos, angle), Math.Sqrt(2));
    }
}
