using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Data whose denoisers, paths and moments are known: a normal distribution and a mixture of two.</summary>
internal static class GaussianWorld
{
    private static readonly (double Weight, double Mean, double Variance)[] Mixture = [(0.3, -1, 0.25), (0.7, 1.2, 0.5)];

    /// <summary>Levels for a network that answers x0 when told sigma.</summary>
    public static NoiseLevels Levels(double[] sigmas) => new(sigmas, s => s, ScalesInput: false, Prediction.Sample);

    /// <summary>Posterior mean of x0 under N(mean, variance).</summary>
    public static double DenoiseNormal(double x, double sigma, double mean, double variance) => (variance * x + sigma * sigma * mean) / (variance + sigma * sigma);

    /// <summary>Posterior mean of x0 under the mixture.</summary>
    public static double DenoiseMixture(double x, double sigma)
    {
        double sum = 0, total = 0;
        foreach (var (weight, mean, variance) in Mixture)
        {
            double spread = variance + sigma * sigma, density = weight * Math.Exp(-(x - mean) * (x - mean) / (2 * spread)) / Math.Sqrt(spread);
            sum += density * DenoiseNormal(x, sigma, mean, variance);
            total += density;
        }

        return sum / total;
    }

    /// <summary>The mixture's path from one level to another, by the classical Runge-Kutta method in ln sigma.</summary>
    public static double ExactMixture(double x, double high, double low)
    {
        const int Steps = 4000;
        double h = (Math.Log(low) - Math.Log(high)) / Steps, s = Math.Log(high);
        double Slope(double at, double v) => v - DenoiseMixture(v, Math.Exp(at));
        for (int i = 0; i < Steps; i++, s += h)
        {
            double a = Slope(s, x), b = Slope(s + h / 2, x + h / 2 * a), c = Slope(s + h / 2, x + h / 2 * b), d = Slope(s + h, x + h * c);
            x += h / 6 * (a + 2 * b + 2 * c + d);
        }

        return x;
    }

    /// <summary>
    /// Mean and variance of what a plan makes of N(startMean, startVariance) when the data are N(mean, variance): exact. The run is then affine in its
    /// start and its noise, so runs of 0, of a unit start and of each unit noise tell all. Noise that belongs to a path is taken apart into its pieces.
    /// </summary>
    public static (double Mean, double Variance) Moments(SamplerPlan plan, double mean, double variance, double startMean, double startVariance)
    {
        double[] cuts = [.. plan.Evaluations.Where(e => e.NoiseInterval is not null).SelectMany(e => new[] { e.NoiseInterval!.Value.From, e.NoiseInterval.Value.To }).Distinct().OrderDescending()];
        int draws = plan.Evaluations.Count(e => e.DrawsNoise), units = 2 + draws + cuts.Length, draw = 0;
        var x = new double[units];
        x[1] = 1;
        double[] end = HostSampler.Run(
            plan, x, (input, sigma) => Array.ConvertAll(input, v => DenoiseNormal(v, sigma, mean, variance)),
            z =>
            {
                Array.Clear(z);
                z[2 + draw++] = 1;
            },
            path: (from, to, z) =>
            {
                Array.Clear(z);
                for (int k = 0; k + 1 < cuts.Length; k++)
                {
                    if (cuts[k] <= from && cuts[k + 1] >= to) z[2 + draws + k] = Math.Sqrt((cuts[k] - cuts[k + 1]) / (from - to));
                }
            });
        double slope = end[1] - end[0];
        return (end[0] + slope * startMean, slope * slope * startVariance + end.Skip(2).Sum(v => (v - end[0]) * (v - end[0])));
    }
}
