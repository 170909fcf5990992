using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>Functions that solvers and schedules share, free of the platform's library so that a schedule is the same everywhere.</summary>
internal static class SolverMath
{
    public static double Pow(double x, double y) => x == 0 ? 0 : DoubleMath.Exp(y * DoubleMath.Log(x));

    /// <summary>x^k for whole k, also of negative x.</summary>
    public static double Power(double x, int k)
    {
        double p = 1;
        for (int i = 0; i < k; i++) p *= x;
        return p;
    }

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

    /// <summary>Solves a*x = b by elimination with pivoting; both are overwritten.</summary>
    public static double[] Solve(double[][] a, double[] b)
    {
        int n = b.Length;
        for (int c = 0; c < n; c++)
        {
            int pivot = c;
            for (int r = c + 1; r < n; r++) if (Math.Abs(a[r][c]) > Math.Abs(a[pivot][c])) pivot = r;
            (a[c], a[pivot]) = (a[pivot], a[c]);
            (b[c], b[pivot]) = (b[pivot], b[c]);
            for (int r = c + 1; r < n; r++)
            {
                double factor = a[r][c] / a[c][c];
                for (int k = c; k < n; k++) a[r][k] -= factor * a[c][k];
                b[r] -= factor * b[c];
            }
        }

        for (int c = n - 1; c >= 0; c--)
        {
            for (int k = c + 1; k < n; k++) b[c] -= a[c][k] * b[k];
            b[c] /= a[c][c];
        }

        return b;
    }

    /// <summary>Coefficients, constant first, of the polynomial that is 1 at one node and 0 at the others.</summary>
    public static double[] Lagrange(ReadOnlySpan<double> nodes, int one)
    {
        double[] polynomial = [1];
        for (int j = 0; j < nodes.Length; j++)
        {
            if (j == one) continue;
            double scale = 1 / (nodes[one] - nodes[j]);
            var next = new double[polynomial.Length + 1];
            for (int k = 0; k < polynomial.Length; k++)
            {
                next[k + 1] += polynomial[k] * scale;
                next[k] -= polynomial[k] * nodes[j] * scale;
            }

            polynomial = next;
        }

        return polynomial;
    }
}
