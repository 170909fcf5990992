namespace DiffusionCore.Guidance;

/// <summary>Mean and variance (over n - 1, as the peers' standard deviation) of one image.</summary>
public readonly record struct Moments(double Mean, double Variance)
{
    /// <summary>Two passes: the square of the mean would cancel.</summary>
    public static Moments Of(ReadOnlySpan<double> values)
    {
        double mean = 0, sum = 0;
        foreach (double v in values) mean += v;
        mean /= values.Length;
        foreach (double v in values) sum += (v - mean) * (v - mean);
        return new Moments(mean, values.Length > 1 ? sum / (values.Length - 1) : 0);
    }

    /// <summary>Covariance over n - 1.</summary>
    public static double Covariance(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double meanA = Of(a).Mean, meanB = Of(b).Mean, sum = 0;
        for (int i = 0; i < a.Length; i++) sum += (a[i] - meanA) * (b[i] - meanB);
        return a.Length > 1 ? sum / (a.Length - 1) : 0;
    }
}
