using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers.Ode;

/// <summary>
/// The Runge-Kutta pair of orders 5 and 4 of Dormand and Prince 1980: seven stages, the last of which is the first of the next step, and a difference of
/// both results as the error. The rules for the first and the next step are those of Hairer, Norsett and Wanner 1993, II.4.
/// </summary>
public static class DormandPrince
{
    public const int Stages = 7;

    private const double Safety = 0.9, Least = 0.2, Most = 10, Exponent = -1.0 / 5;

    /// <summary>Where each stage lies in the step.</summary>
    internal static readonly double[] C = [0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1, 1];

    /// <summary>Weights of the former stages; the last row is the result of fifth order.</summary>
    internal static readonly double[][] A =
    [
        [],
        [1.0 / 5],
        [3.0 / 40, 9.0 / 40],
        [44.0 / 45, -56.0 / 15, 32.0 / 9],
        [19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729],
        [9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656],
        [35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84],
    ];

    /// <summary>Fifth order less fourth.</summary>
    internal static readonly double[] Error = [71.0 / 57600, 0, -71.0 / 16695, 71.0 / 1920, -17253.0 / 339200, 22.0 / 525, -1.0 / 40];

    /// <summary>Factor of the next step after an error in units of the tolerance; below 1 the step stands.</summary>
    /// <param name="rejected">Whether this step had been rejected before: it may not grow then.</param>
    internal static double Factor(double error, bool rejected)
    {
        if (error < 1) return Math.Min(error == 0 ? Most : Math.Min(Most, Safety * Power(error)), rejected ? 1 : Most);
        return Math.Max(Least, Safety * Power(error));
    }

    /// <summary>The first step from the sizes of the state, the slope and its change over a trial step h0 (each in units of the tolerance).</summary>
    internal static double FirstStep(double state, double slope) => state < 1e-5 || slope < 1e-5 ? 1e-6 : 0.01 * state / slope;

    internal static double FirstStep(double h0, double slope, double change)
    {
        double largest = Math.Max(slope, change / h0);
        double h1 = largest <= 1e-15 ? Math.Max(1e-6, h0 * 1e-3) : DoubleMath.Exp(DoubleMath.Log(0.01 / largest) / 5);
        return Math.Min(100 * h0, h1);
    }

    /// <summary>Integrates y' = f(t, y) in double.</summary>
    /// <param name="f">(t, y, where the slope goes).</param>
    /// <returns>y at the end, and the number of slopes that it took.</returns>
    public static (double[] Y, int Slopes) Solve(Action<double, double[], double[]> f, double[] y, double start, double end, double relative = 1e-5, double absolute = 1e-5)
    {
        int n = y.Length, slopes = 2;
        y = (double[])y.Clone();
        double[][] k = [.. Enumerable.Range(0, Stages).Select(_ => new double[n])];
        double[] next = new double[n], error = new double[n];
        double direction = Math.Sign(end - start), t = start;
        if (direction == 0) return (y, 0);
        var size = new Measure(MeasureKind.ErrorToSum, 0, 0, absolute, relative);
        f(t, y, k[0]);
        double slope = size.Of<double>(y, k[0], y), h0 = FirstStep(size.Of<double>(y, y, y), slope);
        Combine(1, h0 * direction);
        f(t + h0 * direction, next, k[1]);
        for (int i = 0; i < n; i++) error[i] = k[1][i] - k[0][i];
        double h = FirstStep(h0, slope, size.Of<double>(y, error, y));
        bool rejected = false;
        while (direction * (end - t) > 0)
        {
            double step = Math.Min(h, Math.Abs(end - t)) * direction;
            bool last = Math.Abs(step) == Math.Abs(end - t);
            for (int stage = 1; stage < Stages; stage++)
            {
                Combine(stage, step);
                f(t + C[stage] * step, next, k[stage]);
            }

            slopes += Stages - 1;
            for (int i = 0; i < n; i++)
            {
                error[i] = 0;
                for (int j = 0; j < Stages; j++) error[i] += step * Error[j] * k[j][i];
            }

            double size1 = size.Of<double>(next, error, y), factor = Factor(size1, rejected);
            h = Math.Abs(step) * factor;
            rejected = !(size1 < 1);
            if (rejected) continue;
            t = last ? end : t + step;
            (y, next) = (next, y);
            (k[0], k[^1]) = (k[^1], k[0]);
        }

        return (y, slopes);

        void Combine(int stage, double step)
        {
            for (int i = 0; i < n; i++)
            {
                double sum = 0;
                for (int j = 0; j < stage; j++) sum += A[stage][j] * k[j][i];
                next[i] = y[i] + step * sum;
            }
        }
    }

    private static double Power(double error) => DoubleMath.Exp(Exponent * DoubleMath.Log(error));
}
