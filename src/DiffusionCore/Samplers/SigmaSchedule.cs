using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>Ways to place noise levels between the largest and the smallest. Each returns n levels, falling, without a final zero.</summary>
public static class SigmaSchedule
{
    public static readonly string[] Names = ["karras", "exponential", "beta", "lu"];

    public static double[] Build(string name, double minimum, double maximum, int n) => name switch
    {
        "karras" => Karras(minimum, maximum, n),
        "exponential" => Exponential(minimum, maximum, n),
        "beta" => Beta(minimum, maximum, n),
        "lu" => Lu(minimum, maximum, n),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "unknown schedule"),
    };

    /// <summary>Karras et al. 2022, eq. 5: even in sigma^(1/rho).</summary>
    public static double[] Karras(double minimum, double maximum, int n, double rho = 7)
    {
        double low = SolverMath.Pow(minimum, 1 / rho), high = SolverMath.Pow(maximum, 1 / rho);
        return [.. NoiseSchedule.Linspace(0, 1, n).Select(r => SolverMath.Pow(high + r * (low - high), rho))];
    }

    /// <summary>Even in ln sigma.</summary>
    public static double[] Exponential(double minimum, double maximum, int n) =>
        [.. NoiseSchedule.Linspace(DoubleMath.Log(maximum), DoubleMath.Log(minimum), n).Select(DoubleMath.Exp)];

    /// <summary>Even in log-SNR (Lu et al. 2022), given as noise levels.</summary>
    public static double[] Lu(double minimum, double maximum, int n) => Exponential(minimum, maximum, n);

    /// <summary>Quantiles of a beta distribution (Lee et al. 2024), 0.6 and 0.6.</summary>
    public static double[] Beta(double minimum, double maximum, int n, double a = 0.6, double b = 0.6) =>
        [.. NoiseSchedule.Linspace(0, 1, n).Select(r => minimum + BetaQuantile(1 - r, a, b) * (maximum - minimum))];

    /// <summary>The x with I_x(a, b) = p, by bisection: exact to double.</summary>
    public static double BetaQuantile(double p, double a, double b)
    {
        if (p <= 0) return 0;
        if (p >= 1) return 1;
        double low = 0, high = 1;
        for (int i = 0; i < 200 && high - low > 1e-16 * high; i++)
        {
            double mid = (low + high) / 2;
            if (RegularizedBeta(mid, a, b) < p) low = mid;
            else high = mid;
        }

        return (low + high) / 2;
    }

    // Continued fraction of the incomplete beta function (DLMF 8.17.22), evaluated from below.
    private static double RegularizedBeta(double x, double a, double b)
    {
        if (x > (a + 1) / (a + b + 2)) return 1 - RegularizedBeta(1 - x, b, a);
        double fraction = 0;
        for (int m = 200; m >= 1; m--)
        {
            int k = m / 2;
            double d = m % 2 == 0
                ? k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
                : -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1));
            fraction = d / (1 + fraction);
        }

        double front = a * DoubleMath.Log(x) + b * DoubleMath.Log(1 - x) - LogBeta(a, b) - DoubleMath.Log(a);
        return DoubleMath.Exp(front) / (1 + fraction);
    }

    private static double LogBeta(double a, double b) => LogGamma(a) + LogGamma(b) - LogGamma(a + b);

    // Stirling's series after shifting the argument above 12.
    private static double LogGamma(double x)
    {
        double shift = 0;
        while (x < 12) shift -= DoubleMath.Log(x++);
        double r = 1 / (x * x);
        return shift + (x - 0.5) * DoubleMath.Log(x) - x + 0.5 * DoubleMath.Log(2 * Math.PI) + (1.0 / 12 - r * (1.0 / 360 - r * (1.0 / 1260 - r * (1.0 / 1680)))) / x;
    }
}
