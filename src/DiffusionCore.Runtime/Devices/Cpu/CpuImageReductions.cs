using System.Numerics;

namespace DiffusionCore.Runtime;

/// <summary>What thresholds and Langevin steps need to know of each image before the update, for a state in F32 or F64.</summary>
internal static unsafe class CpuImageReductions
{
    [ThreadStatic]
    private static double[]? sizes;

    /// <summary>Memory of a latent's size for the pass that comes first.</summary>
    public static CpuBuffer Work(in SamplerStepArguments s) =>
        (CpuBuffer)(s.Work ?? s.DenoisedOut ?? throw new ArgumentException("thresholds and Langevin steps need Work or DenoisedOut as work space", nameof(s)));

    /// <summary>The bound of an image whose denoised estimate this is; sorts it.</summary>
    public static double Threshold<T>(in SamplerStepArguments s, T* denoised)
        where T : unmanaged, INumber<T> =>
        Math.Min(Math.Max(AbsoluteQuantile(new Span<T>(denoised, s.Elements), s.ThresholdRatio), 1), s.ThresholdMaximum);

    /// <returns>a = 2 (r |noise|/|eps|)^2 of each image, the norms its own or means over the batch; valid until this thread's next call.</returns>
    public static double[] LangevinSizes<T>(in SamplerStepArguments s, T* noise, T* epsilon)
        where T : unmanaged, INumber<T>
    {
        if (sizes is null || sizes.Length < s.Images) sizes = new double[s.Images];
        double gradientMean = 0, noiseMean = 0;
        for (int i = 0; s.BatchNorms && i < s.Images; i++)
        {
            gradientMean += Norm(epsilon + (long)i * s.Elements, s.Elements) / s.Images;
            noiseMean += Norm(noise + (long)i * s.Elements, s.Elements) / s.Images;
        }

        for (int i = 0; i < s.Images; i++)
        {
            long at = (long)i * s.Elements;
            double ratio = s.LangevinRatio * (s.BatchNorms ? noiseMean / gradientMean : Norm(noise + at, s.Elements) / Norm(epsilon + at, s.Elements));
            sizes[i] = 2 * ratio * ratio;
        }

        return sizes;
    }

    // 16 partial sums in a fixed order.
    private static double Norm<T>(T* x, int count)
        where T : unmanaged, INumber<T>
    {
        double* lanes = stackalloc double[16];
        new Span<double>(lanes, 16).Clear();
        for (int i = 0; i < count; i++)
        {
            double v = double.CreateTruncating(x[i]);
            lanes[i % 16] += v * v;
        }

        double sum = 0;
        for (int i = 0; i < 16; i++) sum += lanes[i];
        return Math.Sqrt(sum);
    }

    // Sorts its argument; linear interpolation between neighbours.
    private static double AbsoluteQuantile<T>(Span<T> x, double ratio)
        where T : INumber<T>
    {
        for (int i = 0; i < x.Length; i++) x[i] = T.Abs(x[i]);
        x.Sort();
        double at = ratio * (x.Length - 1);
        int below = (int)at;
        double low = double.CreateTruncating(x[below]);
        return below + 1 < x.Length ? low + (at - below) * double.CreateTruncating(x[below + 1] - x[below]) : low;
    }
}
