using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// Linear multistep (Adams-Bashforth) on dx/dsigma = eps with uneven steps: a polynomial through the last slopes, integrated over the step. The first
/// steps have lower order.
/// </summary>
public static class KLms
{
    private const int DefaultOrder = 4, LargestOrder = 8;

    // Gauss-Legendre, 4 points: exact to degree 7, the largest polynomial here.
    private static readonly double[] Nodes = [0.33998104358485626, 0.86113631159405258], Weights = [0.65214515486254614, 0.34785484513745386];

    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        int order = options.Order ?? DefaultOrder;
        if (order is < 1 or > LargestOrder) throw new UsageException($"order: lms has orders 1 to {LargestOrder}, found {order}");
        var tape = new PlanTape(levels);
        int slots = order - 1;
        for (int i = 0; i < levels.Steps; i++)
        {
            int current = Math.Min(i + 1, order);
            var history = new HistoryTerm[current - 1];
            for (int j = 1; j < current; j++) history[j - 1] = new((i - j) % slots, Coefficient(levels.Sigmas, i, j, current));
            tape.Add(levels.At(levels.Sigmas[i], i) with
            {
                X = 1,
                E = Coefficient(levels.Sigmas, i, 0, current),
                History = history,
                Keep = slots > 0 ? Kept.Epsilon : Kept.None,
                KeepSlot = slots > 0 ? i % slots : 0,
            });
        }

        return tape.Plan("lms", slots);
    }

    /// <summary>The integral over step i of the Lagrange polynomial that is 1 at level i - j and 0 at the other <paramref name="order"/> - 1 levels up to i.</summary>
    internal static double Coefficient(double[] sigmas, int i, int j, int order)
    {
        double middle = (sigmas[i] + sigmas[i + 1]) / 2, half = (sigmas[i + 1] - sigmas[i]) / 2, sum = 0;
        for (int k = 0; k < Nodes.Length; k++) sum += Weights[k] * (Lagrange(middle + half * Nodes[k]) + Lagrange(middle - half * Nodes[k]));
        return half * sum;

        double Lagrange(double at)
        {
            double product = 1;
            for (int k = 0; k < order; k++)
            {
                if (k != j) product *= (at - sigmas[i - k]) / (sigmas[i - j] - sigmas[i - k]);
            }

            return product;
        }
    }
}
