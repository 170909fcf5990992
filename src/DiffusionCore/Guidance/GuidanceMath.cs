using DiffusionCore.Runtime;

namespace DiffusionCore.Guidance;

/// <summary>
/// Guidance of one image in double: the definition that a fused step is held to. Each form is a reduction over the image (none for plain guidance) that
/// gives a few coefficients, and one pass that applies them.
/// </summary>
public static class GuidanceMath
{
    /// <summary>Classifier-free guidance, u + w(c - u).</summary>
    public static void Plain(ReadOnlySpan<double> conditional, ReadOnlySpan<double> unconditional, double scale, Span<double> guided)
    {
        for (int i = 0; i < guided.Length; i++) guided[i] = unconditional[i] + scale * (conditional[i] - unconditional[i]);
    }

    /// <summary>
    /// The factor of Lin et al. 2024, equations 15 and 16: the guided prediction is brought towards the standard deviation of the conditional one,
    /// guided *= share*std(c)/std(guided) + (1 - share). Moments over the whole image, channels together.
    /// </summary>
    public static double RescaleFactor(Moments conditional, Moments guided, double share) =>
        guided.Variance > 0 ? share * Math.Sqrt(conditional.Variance / guided.Variance) + 1 - share : 1;

    /// <summary>Plain guidance, rescaled.</summary>
    public static void Rescaled(ReadOnlySpan<double> conditional, ReadOnlySpan<double> unconditional, double scale, double share, Span<double> guided)
    {
        Plain(conditional, unconditional, scale, guided);
        double factor = RescaleFactor(Moments.Of(conditional), Moments.Of(guided), share);
        foreach (ref double v in guided) v *= factor;
    }

    /// <summary>
    /// The moments of u + w(c - u) from those of both branches: with these, rescaling needs no pass over the guided prediction, and the fused step applies
    /// factor*(1 - w) to u and factor*w to c.
    /// </summary>
    public static Moments Guided(Moments conditional, Moments unconditional, double covariance, double scale) => new(
        unconditional.Mean + scale * (conditional.Mean - unconditional.Mean),
        (1 - scale) * (1 - scale) * unconditional.Variance + scale * scale * conditional.Variance + 2 * scale * (1 - scale) * covariance);

    /// <summary>Dynamic thresholding (Saharia et al. 2022, section 2.3): s = the quantile of |x0|, at least 1 and at most the maximum; x0 = clamp(x0, -s, s)/s.</summary>
    /// <exception cref="UsageException">A ratio outside (0, 1], or a maximum that is not positive.</exception>
    public static double Threshold(ReadOnlySpan<double> denoised, double ratio, double maximum)
    {
        if (!(ratio > 0 && ratio <= 1)) throw new UsageException(FormattableString.Invariant($"threshold ratio: expected a number above 0 and up to 1, found {ratio}"));
        if (!(maximum > 0)) throw new UsageException(FormattableString.Invariant($"threshold maximum: expected a positive number, found {maximum}"));
        var sorted = new double[denoised.Length];
        for (int i = 0; i < sorted.Length; i++) sorted[i] = Math.Abs(denoised[i]);
        Array.Sort(sorted);
        double at = ratio * (sorted.Length - 1);
        int below = (int)at;
        double quantile = below + 1 < sorted.Length ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[below];
        return Math.Min(Math.Max(quantile, 1), maximum);
    }

    /// <summary>
    /// CFG++ (Chung et al. 2024, algorithm 2) for one DDIM or Euler step on x = x0 + sigma*eps: the guided estimate with the unconditional noise,
    /// x' = D_guided + sigma'/sigma (x - D_uncond). With both estimates a line in one scale, it is a step with the scale w/(1 - sigma'/sigma).
    /// </summary>
    public static double PlusPlusScale(double scale, double sigma, double next) =>
        next < sigma ? scale / (1 - next / sigma) : throw new UsageException(FormattableString.Invariant($"cfg++: the next noise level {next} does not fall below {sigma}"));
}
