namespace DiffusionCore.Metrics;

/// <summary>
/// The squared Frechet (Wasserstein-2) distance of two Gaussians, |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): with the features of an Inception network it
/// is the FID (Heusel et al. 2017, equation 6). Sets of different sizes do not compare: a small set's covariance is noisy and its distance too large.
/// </summary>
public static class FrechetDistance
{
    /// <exception cref="ArgumentException">Features of different dimensions.</exception>
    public static double Between(FeatureStatistics a, FeatureStatistics b)
    {
        int n = a.Dimension;
        if (b.Dimension != n) throw new ArgumentException($"features of {n} and {b.Dimension} dimensions do not compare");
        double distance = 0;
        for (int i = 0; i < n; i++)
        {
            double d = a.Mean[i] - b.Mean[i];
            distance += d * d + a.Covariance[i * n + i] + b.Covariance[i * n + i];
        }

        // C1 C2 has the eigenvalues of the symmetric R C2 R with R = C1^(1/2), so no root of a general matrix is needed.
        double[] root = Root(a.Covariance, n), inner = Product(Product(root, b.Covariance, n), root, n);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < i; j++) inner[i * n + j] = inner[j * n + i] = (inner[i * n + j] + inner[j * n + i]) / 2;
        foreach (double value in SymmetricEigen.Of(inner, n).Values) distance -= 2 * Math.Sqrt(Math.Max(value, 0));
        return Math.Max(distance, 0);                   // rounding may take equal sets below zero
    }

    private static double[] Root(double[] matrix, int n)
    {
        var (values, vectors) = SymmetricEigen.Of(matrix, n);
        double[] scaled = new double[n * n], transposed = new double[n * n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                scaled[i * n + j] = vectors[i * n + j] * Math.Sqrt(Math.Max(values[j], 0));
                transposed[j * n + i] = vectors[i * n + j];
            }
        }

        return Product(scaled, transposed, n);
    }

    private static double[] Product(double[] a, double[] b, int n)
    {
        var c = new double[n * n];
        for (int i = 0; i < n; i++)
        {
            for (int k = 0; k < n; k++)
            {
                double x = a[i * n + k];
                for (int j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
            }
        }

        return c;
    }
}
