using DiffusionCore.Runtime;

namespace DiffusionCore.Guidance;

/// <summary>
/// Adaptive projected guidance (Sadat et al. 2025, "Eliminating oversaturation and artifacts of high guidance scales", algorithm 1), on the denoised
/// estimates of both branches:
/// <code>
/// d = c - u + momentum*d_last;   d *= min(1, Threshold/|d|);   d = across + Parallel*along,  along = (d.c)/(c.c) c
/// guided = c + (w - 1) d
/// </code>
/// What lies along the estimate saturates the image; what lies across it brings it closer to the condition.
/// </summary>
/// <param name="Threshold">Largest norm of the difference, over one image; 0 for none (they use 2.5 to 15).</param>
/// <param name="Momentum">Of the running difference; negative pushes away from the last (they use -0.5 to -0.75).</param>
/// <param name="Parallel">Share of the part along the estimate (they use 0).</param>
public sealed record ProjectedGuidance(double Threshold = 0, double Momentum = 0, double Parallel = 0)
{
    public void Check()
    {
        if (!(Threshold >= 0) || !double.IsFinite(Threshold)) throw new UsageException(FormattableString.Invariant($"apg threshold: expected a finite number of 0 or more, found {Threshold}"));
        if (!(Math.Abs(Momentum) < 1)) throw new UsageException(FormattableString.Invariant($"apg momentum: expected a number between -1 and 1, found {Momentum}"));
        if (!double.IsFinite(Parallel)) throw new UsageException(FormattableString.Invariant($"apg parallel: expected a finite number, found {Parallel}"));
    }

    /// <summary>
    /// The reductions and what follows from them: guided = OfConditional*c + OfDifference*d, with d the difference after momentum, before threshold and
    /// projection. Two dot products of one image decide both numbers; the update itself stays one pass.
    /// </summary>
    /// <param name="scale">w.</param>
    /// <param name="differenceSquared">d.d over one image.</param>
    /// <param name="dot">d.c over one image.</param>
    /// <param name="conditionalSquared">c.c over one image.</param>
    public (double OfConditional, double OfDifference) Coefficients(double scale, double differenceSquared, double dot, double conditionalSquared)
    {
        double norm = Math.Sqrt(differenceSquared), shrink = Threshold > 0 && norm > Threshold ? Threshold / norm : 1;
        double along = conditionalSquared > 0 ? dot / conditionalSquared : 0;
        return (1 + (scale - 1) * shrink * (Parallel - 1) * along, (scale - 1) * shrink);
    }

    /// <summary>Guides one image on the host; <paramref name="running"/> is the running difference, zero at the start of a run, and is updated.</summary>
    public void Guide(ReadOnlySpan<double> conditional, ReadOnlySpan<double> unconditional, double scale, Span<double> running, Span<double> guided)
    {
        double differenceSquared = 0, dot = 0, conditionalSquared = 0;
        for (int i = 0; i < conditional.Length; i++)
        {
            double d = conditional[i] - unconditional[i] + Momentum * running[i];
            running[i] = d;
            differenceSquared += d * d;
            dot += d * conditional[i];
            conditionalSquared += conditional[i] * conditional[i];
        }

        var (c, difference) = Coefficients(scale, differenceSquared, dot, conditionalSquared);
        for (int i = 0; i < guided.Length; i++) guided[i] = c * conditional[i] + difference * running[i];
    }
}
