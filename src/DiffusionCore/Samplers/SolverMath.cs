using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>Functions that solvers and schedules share, free of the platform's library so that a schedule is the same everywhere.</summary>
internal static class SolverMath
{
    public static double Pow(double x, double y) => x == 0 ? 0 : DoubleMath.Exp(y * DoubleMath.Log(x));

    /// <summary>e^x - 1 without cancellation near 0.</summary>
    public static double ExpM1(double x)
    {
        if (double.IsNegativeInfinity(x)) return -1;
        if (double.IsPositiveInfinity(x)) return x;
        if (Math.Abs(x) > 0.25) return DoubleMath.Exp(x) - 1;
        double sum = 0;
        for (int k = 14; k >= 1; k--) sum = x / k * (1 + sum);
        return sum;
    }
}
