using System.Numerics;

namespace DiffusionCore.Samplers;

/// <summary>Ways to weigh the difference between two estimates of one step.</summary>
public enum MeasureKind
{
    /// <summary>Root mean square of (slot - x) / max(absolute, relative*max(|slot|, |reference|)): DPM-Solver's adaptive step.</summary>
    ErrorToMaximum,

    /// <summary>Root mean square of slot / (absolute + relative*max(|x|, |reference|)): the slot holds an error estimate (Hairer et al. 1993, II.4).</summary>
    ErrorToSum,

    /// <summary>Euclidean norm of the slot.</summary>
    Norm,
}

/// <summary>A reduction over the latents after an update. It spans every image of the batch, so a run that decides by it takes one image at a time.</summary>
public sealed record Measure(MeasureKind Kind, int Slot, int Reference = 0, double Absolute = 0, double Relative = 0)
{
    /// <summary>In the order of the elements and in double, whatever the type: the same on every device that holds the same latents.</summary>
    public double Of<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> slot, ReadOnlySpan<T> reference)
        where T : struct, INumber<T>
    {
        double sum = 0;
        for (int i = 0; i < slot.Length; i++)
        {
            double s = double.CreateTruncating(slot[i]);
            double r = Kind == MeasureKind.Norm ? 0 : double.CreateTruncating(reference[i]), v = Kind == MeasureKind.Norm ? 0 : double.CreateTruncating(x[i]);
            double term = Kind switch
            {
                MeasureKind.ErrorToMaximum => (s - v) / Math.Max(Absolute, Relative * Math.Max(Math.Abs(s), Math.Abs(r))),
                MeasureKind.ErrorToSum => s / (Absolute + Relative * Math.Max(Math.Abs(v), Math.Abs(r))),
                _ => s,
            };
            sum += term * term;
        }

        return Math.Sqrt(Kind == MeasureKind.Norm ? sum : sum / slot.Length);
    }
}
