using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Noise;

/// <summary>
/// A Brownian path in each element that can be asked at any time, in any order, and answers the same: the value at the middle of an interval is drawn
/// from the bridge between its ends, and halving goes on to the time asked for (Li et al. 2020, virtual Brownian tree).
/// <code>
/// W(start) = 0,  W(end) = sqrt(end - start) Z,  W((a+b)/2) = (W(a) + W(b))/2 + sqrt(b - a)/2 Z(node)
/// </code>
/// Z(node) is Philox4x32-10 with the seed as key and the node and the element as counter, so nothing is stored. A run of more steps follows the same
/// path as one of fewer, which is what makes the images of noisy samplers converge as steps are added.
/// </summary>
public sealed class BrownianTree
{
    // Halvings; what is left of the interval, 2^-30 of it, is crossed on a straight line.
    private const int Depth = 30;

    private const int Lanes = 4;

    private readonly ulong seed;
    private readonly double start, end;

    // The two times asked for last: the end of a step is the start of the next.
    private readonly double[][] known;
    private readonly double[] times = [double.NaN, double.NaN];
    private readonly double[] high;
    private int oldest;

    /// <param name="elements">Independent paths.</param>
    public BrownianTree(ulong seed, double start, double end, int elements)
    {
        if (!(start < end) || !double.IsFinite(start) || !double.IsFinite(end)) throw new ArgumentOutOfRangeException(nameof(end), end, $"expected more than the start, {start}");
        ArgumentOutOfRangeException.ThrowIfLessThan(elements, 1);
        (this.seed, this.start, this.end) = (seed, start, end);
        known = [new double[elements], new double[elements]];
        high = new double[elements];
    }

    /// <summary>
    /// The path over noise levels from 0 to the largest of a schedule (and a little beyond, for rounding): runs that start at the same level share it,
    /// whatever their steps and their last level.
    /// </summary>
    public static BrownianTree OverLevels(ulong seed, double largest, int elements) => new(seed, 0, largest * (1 + 1e-6), elements);

    /// <summary>W(to) - W(from), over the root of their distance: standard normal, and correlated with other increments as the path says.</summary>
    public void Increment(double from, double to, Span<double> z)
    {
        ReadOnlySpan<double> a = At(from), b = At(to);
        double scale = 1 / Math.Sqrt(Math.Abs(to - from));
        for (int i = 0; i < z.Length; i++) z[i] = (b[i] - a[i]) * scale;
    }

    /// <summary>As the increment in double, rounded.</summary>
    public void Increment(double from, double to, Span<float> z)
    {
        ReadOnlySpan<double> a = At(from), b = At(to);
        double scale = 1 / Math.Sqrt(Math.Abs(to - from));
        for (int i = 0; i < z.Length; i++) z[i] = (float)((b[i] - a[i]) * scale);
    }

    /// <summary>The path at a time between start and end; valid until two other times have been asked for.</summary>
    public ReadOnlySpan<double> At(double time)
    {
        if (!(time >= start && time <= end)) throw new ArgumentOutOfRangeException(nameof(time), time, $"expected {start} to {end}");
        for (int k = 0; k < 2; k++)
        {
            if (times[k] != time) continue;
            oldest = 1 - k;
            return known[k];
        }

        double[] low = known[oldest];
        times[oldest] = time;
        oldest = 1 - oldest;
        Walk(time, low);
        return low;
    }

    private void Walk(double time, double[] low)
    {
        Array.Clear(low);
        Array.Clear(high);
        AddNormal(0, Math.Sqrt(end - start), high);
        double a = start, b = end;
        ulong node = 1;                                            // 1 is the whole interval; 2n and 2n + 1 are the halves of n
        for (int depth = 0; depth < Depth && time > a && time < b; depth++)
        {
            double middle = a + (b - a) / 2, deviation = Math.Sqrt(b - a) / 2;
            bool left = time <= middle;
            double[] moved = left ? high : low;
            for (int i = 0; i < low.Length; i++) moved[i] = (low[i] + high[i]) / 2;
            AddNormal(node, deviation, moved);
            if (left) b = middle;
            else a = middle;
            node = 2 * node + (left ? 0UL : 1UL);
        }

        double share = b > a ? (time - a) / (b - a) : 0;
        for (int i = 0; i < low.Length; i++) low[i] += share * (high[i] - low[i]);
    }

    // Four normals from the four words of each counter, by Box-Muller.
    private void AddNormal(ulong node, double deviation, double[] to)
    {
        Span<uint> words = stackalloc uint[Lanes];
        for (int i = 0; i < to.Length; i += Lanes)
        {
            TorchCudaGenerator.Philox(node, (ulong)(i / Lanes), seed, words);
            for (int k = 0; k < Lanes && i + k < to.Length; k += 2)
            {
                double radius = Math.Sqrt(-2 * DoubleMath.Log((words[k] + 0.5) / 4294967296.0)) * deviation;
                var (sin, cos) = DoubleMath.SinCos(2 * Math.PI * (words[k + 1] / 4294967296.0));
                to[i + k] += radius * cos;
                if (i + k + 1 < to.Length) to[i + k + 1] += radius * sin;
            }
        }
    }
}
