using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Runs a plan in double on the host with any function as the network: the definition that the fused step is held to, and what tests drive.</summary>
public static class HostSampler
{
    /// <param name="x">The first latent, already scaled; it is not changed.</param>
    /// <param name="network">(input, time) to prediction; the input is InputScale * x.</param>
    /// <param name="noise">Called once per evaluation that draws noise; fills its argument.</param>
    public static double[] Run(SamplerPlan plan, double[] x, Func<double[], double, double[]> network, Action<double[]>? noise = null)
    {
        x = (double[])x.Clone();
        var slots = new double[plan.Slots][];
        var z = new double[x.Length];
        foreach (var e in plan.Evaluations)
        {
            double[] m = network(Array.ConvertAll(x, v => e.InputScale * v), e.Time);
            var numbers = StepNumbers.Of(plan.Prediction, e.Alpha, e.Sigma);
            var denoised = new double[x.Length];
            var epsilon = new double[x.Length];
            for (int i = 0; i < x.Length; i++)
            {
                denoised[i] = numbers.A0 * x[i] + numbers.B0 * m[i];
                epsilon[i] = numbers.A1 * x[i] + numbers.B1 * m[i];
            }

            double bound = plan.Clip, divisor = 1;
            if (plan.ThresholdRatio > 0)
            {
                double[] sorted = [.. denoised.Select(Math.Abs).Order()];
                double at = plan.ThresholdRatio * (sorted.Length - 1);
                int below = (int)at;
                double quantile = sorted[below] + (below + 1 < sorted.Length ? (at - below) * (sorted[below + 1] - sorted[below]) : 0);
                bound = divisor = Math.Clamp(quantile, 1, Math.Max(1, plan.ThresholdMaximum));
            }

            if (!double.IsPositiveInfinity(bound))
            {
                for (int i = 0; i < x.Length; i++)
                {
                    denoised[i] = Math.Clamp(denoised[i], -bound, bound) / divisor;
                    if (plan.ClipRederivesEpsilon) epsilon[i] = numbers.P * x[i] + numbers.Q * denoised[i];
                }
            }

            if (e.DrawsNoise) noise?.Invoke(z);
            var next = new double[x.Length];
            for (int i = 0; i < x.Length; i++)
            {
                next[i] = e.X * x[i] + e.D * denoised[i] + e.E * epsilon[i] + (e.DrawsNoise ? e.N * z[i] : 0);
                foreach (var term in e.History) next[i] += term.Coefficient * slots[term.Slot][i];
            }

            if (e.Keep != Kept.None) slots[e.KeepSlot] = e.Keep switch { Kept.Denoised => denoised, Kept.Epsilon => epsilon, _ => x };
            x = next;
        }

        return x;
    }
}
