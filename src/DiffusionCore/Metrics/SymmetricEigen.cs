namespace DiffusionCore.Metrics;

/// <summary>
/// Eigenvalues and eigenvectors of a real symmetric matrix by cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.5), in double:
/// slower than a tridiagonal method, short, and accurate for small eigenvalues, whose square roots a Frechet distance needs.
/// </summary>
internal static class SymmetricEigen
{
    private const int MostSweeps = 64;

    /// <param name="matrix">[n, n] row by row; left as it is.</param>
    /// <returns>Eigenvalues [n] in no order, and the eigenvectors as the columns of [n, n].</returns>
    public static (double[] Values, double[] Vectors) Of(ReadOnlySpan<double> matrix, int n)
    {
        double[] a = matrix.ToArray(), v = new double[n * n];
        for (int i = 0; i < n; i++) v[i * n + i] = 1;
        double scale = 0;
        foreach (double x in a) scale += x * x;
        for (int sweep = 0; ; sweep++)
        {
            double off = 0;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < i; j++) off += 2 * a[i * n + j] * a[i * n + j];
            if (off <= 1e-30 * scale) break;
            if (sweep == MostSweeps) throw new InvalidOperationException($"Jacobi rotations did not settle in {MostSweeps} sweeps");
            for (int p = 0; p < n - 1; p++)
                for (int q = p + 1; q < n; q++) Rotate(a, v, n, p, q);
        }

        var values = new double[n];
        for (int i = 0; i < n; i++) values[i] = a[i * n + i];
        return (values, v);
    }

    private static void Rotate(double[] a, double[] v, int n, int p, int q)
    {
        double apq = a[p * n + q];
        if (apq == 0) return;
        double tau = (a[q * n + q] - a[p * n + p]) / (2 * apq);
        double t = (tau >= 0 ? 1 : -1) / (Math.Abs(tau) + Math.Sqrt(1 + tau * tau));
        double c = 1 / Math.Sqrt(1 + t * t), s = t * c;
        for (int k = 0; k < n; k++)
        {
            double kp = a[k * n + p], kq = a[k * n + q];
            a[k * n + p] = c * kp - s * kq;
            a[k * n + q] = s * kp + c * kq;
        }

        for (int k = 0; k < n; k++)
        {
            double pk = a[p * n + k], qk = a[q * n + k];
            a[p * n + k] = c * pk - s * qk;
            a[q * n + k] = s * pk + c * qk;
        }

        for (int k = 0; k < n; k++)
        {
            double kp = v[k * n + p], kq = v[k * n + q];
            v[k * n + p] = c * kp - s * kq;
            v[k * n + q] = s * kp + c * kq;
        }
    }
}
