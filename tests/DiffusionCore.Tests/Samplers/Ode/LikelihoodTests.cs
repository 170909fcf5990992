using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Ode;

namespace DiffusionCore.Tests.Samplers.Ode;

/// <summary>Log-densities of a normal distribution and of a mixture, whose values are known.</summary>
public sealed class LikelihoodTests
{
    // The prior is centred on 0: an offset of the data is felt as Mean/High.
    private const double Low = 0.01, High = 50_000, Mean = 0.4, Variance = 0.3;

    private static double[] Normal(double[] x, double sigma) => Array.ConvertAll(x, v => (v - GaussianWorld.DenoiseNormal(v, sigma, Mean, Variance)) / sigma);

    private static double[] Mixture(double[] x, double sigma) => Array.ConvertAll(x, v => (v - GaussianWorld.DenoiseMixture(v, sigma)) / sigma);

    [Theory]
    [InlineData(Divergence.Exact)]
    [InlineData(Divergence.Hutchinson)]
    public void A_normal_density_is_met_within_a_ten_thousandth_of_a_nat(Divergence divergence)
    {
        double[] x = [-0.7, 0.1, 1.3];
        double spread = Variance + Low * Low, expected = x.Sum(v => -0.5 * (v - Mean) * (v - Mean) / spread - 0.5 * Math.Log(2 * Math.PI * spread));
        // Random signs see a diagonal Jacobian exactly.
        Assert.Equal(expected, Likelihood.LogDensity(x, Normal, Low, High, divergence, relative: 1e-8, absolute: 1e-8), 1e-4);
    }

    [Fact]
    public void A_mixture_density_is_met()
    {
        foreach (double x in (double[])[-1.4, 0.2, 1.9])
        {
            double expected = Math.Log(0.3 * Density(x, -1, 0.25 + Low * Low) + 0.7 * Density(x, 1.2, 0.5 + Low * Low));
            Assert.Equal(expected, Likelihood.LogDensity([x], Mixture, Low, High, relative: 1e-8, absolute: 1e-8), 1e-4);
        }

        static double Density(double x, double mean, double variance) => Math.Exp(-0.5 * (x - mean) * (x - mean) / variance) / Math.Sqrt(2 * Math.PI * variance);
    }

    [Fact]
    public void Hutchinson_is_unbiased_where_the_Jacobian_is_full()
    {
        // Correlated data: covariance [[a, b], [b, a]] has the parts a + b and a - b along the diagonals.
        const double A = 0.5, B = 0.3;
        double[] Epsilon(double[] x, double sigma)
        {
            double u = (x[0] + x[1]) / 2, v = (x[0] - x[1]) / 2;
            (u, v) = (u * sigma / (A + B + sigma * sigma), v * sigma / (A - B + sigma * sigma));
            return [u + v, u - v];
        }

        double[] at = [0.3, -0.8];
        double exact = Likelihood.LogDensity(at, Epsilon, Low, High, relative: 1e-7, absolute: 1e-7);
        double p = A + B + Low * Low, q = A - B + Low * Low, s = at[0] + at[1], d = at[0] - at[1];
        Assert.Equal(-0.25 * s * s / p - 0.25 * d * d / q - 0.5 * Math.Log(4 * Math.PI * Math.PI * p * q), exact, 1e-4);

        double[] one = [.. Enumerable.Range(0, 400).Select(i => Likelihood.LogDensity(at, Epsilon, Low, High, Divergence.Hutchinson, seed: (ulong)i))];
        double average = one.Average(), deviation = Math.Sqrt(one.Average(v => (v - average) * (v - average)));
        Assert.True(deviation > 0.1, "one probe must scatter where the Jacobian is full");
        Assert.Equal(exact, average, 4 * deviation / Math.Sqrt(one.Length));
        double many = Likelihood.LogDensity(at, Epsilon, Low, High, Divergence.Hutchinson, probes: 400, seed: 9);
        Assert.Equal(exact, many, 4 * deviation / Math.Sqrt(400));
    }

    [Fact]
    public void Bits_per_dimension_and_bad_input()
    {
        Assert.Equal(7 + 1, Likelihood.BitsPerDimension(-3 * Math.Log(2), 3), 1e-12);
        Assert.Contains("0 < least < largest", Assert.Throws<UsageException>(() => Likelihood.LogDensity([0], Normal, 2, 1)).Message, StringComparison.Ordinal);
        Assert.Contains("1 or more probes", Assert.Throws<UsageException>(() => Likelihood.LogDensity([0], Normal, 1, 2, Divergence.Hutchinson, probes: 0)).Message, StringComparison.Ordinal);
    }
}
