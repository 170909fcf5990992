using DiffusionCore.Kernels.Host;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Ode;

/// <summary>How the divergence of eps is found.</summary>
public enum Divergence
{
    /// <summary>Every diagonal element by differences: two evaluations per dimension.</summary>
    Exact,

    /// <summary>v^T J v for random signs v (Hutchinson 1990; Skilling 1989): unbiased, two evaluations per probe, the same probes along the whole path.</summary>
    Hutchinson,
}

/// <summary>
/// The log-density of an image under a diffusion model (Song et al. 2021, section 4.3 and appendix D.2): along the probability flow
/// dx/dln sigma = sigma*eps, <code>log p(x at sigma_min) = log p_prior(x at sigma_max) + int sigma div eps dln sigma</code>
/// Derivatives by central differences, so any network will do.
/// </summary>
public static class Likelihood
{
    /// <param name="x">One image at the least noise level.</param>
    /// <param name="epsilon">(x, sigma) to eps for x = x0 + sigma*eps.</param>
    /// <param name="prior">Log-density of x at the largest level; null for a normal of that deviation.</param>
    /// <param name="probes">Random vectors for <see cref="Divergence.Hutchinson"/>.</param>
    /// <param name="difference">Relative step of the differences, in units of sigma.</param>
    /// <returns>Nats.</returns>
    public static double LogDensity(
        double[] x, Func<double[], double, double[]> epsilon, double sigmaMin, double sigmaMax, Divergence divergence = Divergence.Exact, int probes = 1, ulong seed = 0,
        double relative = 1e-5, double absolute = 1e-5, double difference = 1e-4, Func<double[], double>? prior = null)
    {
        if (!(sigmaMin > 0 && sigmaMin < sigmaMax && double.IsFinite(sigmaMax))) throw new UsageException(FormattableString.Invariant($"likelihood: expected noise levels with 0 < least < largest, found {sigmaMin} and {sigmaMax}"));
        if (probes < 1) throw new UsageException($"likelihood: expected 1 or more probes, found {probes}");
        int d = x.Length;
        double[][] vectors = divergence == Divergence.Exact ? [.. Enumerable.Range(0, d).Select(Axis)] : Signs(d, probes, seed);
        double weight = divergence == Divergence.Exact ? 1 : 1.0 / probes;
        double[] start = [.. x, 0];
        var (end, _) = DormandPrince.Solve(Slope, start, DoubleMath.Log(sigmaMin), DoubleMath.Log(sigmaMax), relative, absolute);
        return (prior ?? Normal)(end[..d]) + end[d];

        void Slope(double time, double[] y, double[] slope)
        {
            double sigma = DoubleMath.Exp(time), step = difference * sigma;
            double[] at = y[..d], eps = epsilon(at, sigma);
            for (int i = 0; i < d; i++) slope[i] = sigma * eps[i];
            double sum = 0;
            foreach (double[] v in vectors)
            {
                double[] forward = epsilon([.. at.Select((a, i) => a + step * v[i])], sigma), back = epsilon([.. at.Select((a, i) => a - step * v[i])], sigma);
                for (int i = 0; i < d; i++) sum += v[i] * (forward[i] - back[i]);
            }

            slope[d] = sigma * weight * sum / (2 * step);
        }

        double[] Axis(int i)
        {
            var v = new double[d];
            v[i] = 1;
            return v;
        }

        double Normal(double[] y) => -0.5 * y.Sum(v => v * v) / (sigmaMax * sigmaMax) - d * (DoubleMath.Log(sigmaMax) + 0.5 * DoubleMath.Log(2 * Math.PI));
    }

    /// <summary>Bits per dimension of pixels with 256 values that were mapped to [-1, 1].</summary>
    public static double BitsPerDimension(double logDensity, int dimensions) => -logDensity / dimensions / DoubleMath.Log(2) + 7;

    private static double[][] Signs(int d, int probes, ulong seed)
    {
        var generator = new TorchCpuGenerator(seed);
        return [.. Enumerable.Range(0, probes).Select(_ => Enumerable.Range(0, d).Select(_ => (generator.Next32() & 1) == 0 ? 1.0 : -1).ToArray())];
    }
}
