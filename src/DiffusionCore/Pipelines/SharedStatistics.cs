using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>The statistics that the norms of all tiles share, and the sums from which the next ones are made.</summary>
internal sealed class SharedStatistics : IDisposable
{
    // Variances below this do not matter: the norms add as much.
    private const double Negligible = 1e-6;

    private readonly Device device;
    private readonly DeviceBuffer area, own;
    private readonly Norm[] norms;
    private readonly float[] numbers = new float[4];

    public SharedStatistics(Device device, Executable tile, int[] groups)
    {
        this.device = device;
        area = device.Allocate(4 * sizeof(float));
        own = device.Allocate(sizeof(float));
        tile.Bind("area", area);
        tile.Bind("own", own);
        norms = new Norm[groups.Length];
        for (int k = 0; k < norms.Length; k++)
        {
            var given = device.Allocate(2L * groups[k] * sizeof(float));
            tile.Bind($"given.{k}", given);
            norms[k] = new Norm(given, tile.Output($"moments.{k}"), new float[2 * groups[k]], new double[2 * groups[k]], new double[2 * groups[k]]);
        }
    }

    /// <summary>Each run normalises by its own statistics, until <see cref="Give"/>.</summary>
    public void UseOwn()
    {
        SetOwn(1);
        foreach (var n in norms) Clear(n);
    }

    /// <summary>Where the following runs take their statistics, in pixels of a tile's features.</summary>
    public void Area(int top, int bottom, int left, int right)
    {
        (numbers[0], numbers[1], numbers[2], numbers[3]) = (top, bottom, left, right);
        device.Upload(MemoryMarshal.AsBytes(numbers.AsSpan()), area);
    }

    /// <summary>Adds the statistics of the last run, for as many pixels as <paramref name="weight"/> says (Chan et al. 1983).</summary>
    public void Add(double weight)
    {
        foreach (var n in norms)
        {
            device.Download(n.Moments, MemoryMarshal.AsBytes(n.Staged.AsSpan()));
            double total = n.Weight + weight;
            for (int i = 0; i < n.Sums.Length; i += 2)
            {
                double off = n.Staged[i] - n.Sums[i];
                n.Sums[i] += off * weight / total;
                n.Sums[i + 1] += n.Staged[i + 1] * weight + off * off * n.Weight * weight / total;
            }

            n.Weight = total;
        }
    }

    /// <summary>The following runs normalise by what was added since the last time.</summary>
    /// <returns>The largest change of a group's mean or deviation since the last time, in deviations.</returns>
    public double Give()
    {
        SetOwn(0);
        double change = 0;
        foreach (var n in norms)
        {
            for (int i = 0; i < n.Sums.Length; i += 2)
            {
                double mean = n.Sums[i], variance = n.Sums[i + 1] / n.Weight, deviation = Math.Sqrt(variance + Negligible);
                change = Math.Max(change, Math.Max(Math.Abs(mean - n.Last[i]), Math.Abs(deviation - Math.Sqrt(n.Last[i + 1] + Negligible))) / deviation);
                (n.Last[i], n.Last[i + 1]) = (mean, variance);
                (n.Staged[i], n.Staged[i + 1]) = ((float)mean, (float)variance);
            }

            device.Upload(MemoryMarshal.AsBytes(n.Staged.AsSpan()), n.Given);
            Clear(n);
        }

        return change;
    }

    public void Dispose()
    {
        area.Dispose();
        own.Dispose();
        foreach (var n in norms) n.Given.Dispose();
    }

    private static void Clear(Norm n)
    {
        Array.Clear(n.Sums);
        n.Weight = 0;
    }

    private void SetOwn(float value) => device.Upload(MemoryMarshal.AsBytes(new ReadOnlySpan<float>(in value)), own);

    /// <param name="Sums">Per group: mean, and sum of squared deviations.</param>
    /// <param name="Last">Per group: mean and variance as given last.</param>
    private sealed record Norm(DeviceBuffer Given, DeviceBuffer Moments, float[] Staged, double[] Sums, double[] Last)
    {
        public double Weight { get; set; }
    }
}
