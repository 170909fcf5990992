using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Samplers.Ode;

namespace DiffusionCore.Tests.Models;

/// <summary>
/// Likelihoods of the authors' own program for Gaussian data with the exact score. It follows the flow in its own time and coordinates, we in the noise level
/// of x0 + sigma*eps; for a variance-preserving process x = alpha*(x0 + sigma*eps) the densities differ by alpha^d. The data asks for 1e-3. Where its paths
/// end (z) and how often it looks (nfe) belong to its own coordinates.
/// </summary>
[Trait("Category", "Conformance")]
public sealed class GoldenLikelihoodTests
{
    private const double Bound = 1e-3;

    public static TheoryData<string> Folders() => GoldenSampling.Folders("song_likelihood");

    [ConformanceTheory]
    [MemberData(nameof(Folders))]
    public void Bits_per_dimension_are_the_peers(string name)
    {
        using var golden = GoldenModel.Open(name);
        var config = ConfigFile.Load(Path.Combine(golden.Folder, "config.json"));
        double[] mean = config.GetOptionalDoubles("mu")!, deviation = config.GetOptionalDoubles("s")!, vp = config.GetOptionalDoubles("vp")!, ve = config.GetOptionalDoubles("ve")!;
        double first = config.GetDouble("eps", null), relative = config.GetDouble("rtol", null), absolute = config.GetDouble("atol", null);
        int d = mean.Length;
        float[] data = Floats("in.data");

        // alpha = exp(-int beta / 2) with beta rising linearly from vp[0] to vp[1].
        (double Alpha, double Sigma) Preserving(double t)
        {
            double log = -0.5 * (vp[0] * t + 0.5 * (vp[1] - vp[0]) * t * t);
            return (Math.Exp(log), Math.Sqrt(Math.Exp(-2 * log) - 1));
        }

        var (start, end) = (Preserving(first), Preserving(1));
        Check("vp_bpd", x =>
        {
            double[] y = [.. x.Select(v => v / start.Alpha)];
            double density = Likelihood.LogDensity(y, Epsilon, start.Sigma, end.Sigma, relative: relative, absolute: absolute,
                prior: z => z.Sum(v => Normal(v * end.Alpha, 0, 1)) + d * Math.Log(end.Alpha));
            return Likelihood.BitsPerDimension(density - d * Math.Log(start.Alpha), d);
        });
        Check("ve_bpd", x => Likelihood.BitsPerDimension(Likelihood.LogDensity(x, Epsilon, ve[0] * Math.Pow(ve[1] / ve[0], first), ve[1], relative: relative, absolute: absolute), d));
        Check("exact_bpd", x => Likelihood.BitsPerDimension(x.Select((v, i) => Normal(v, mean[i], deviation[i])).Sum(), d));

        double[] Epsilon(double[] x, double sigma) => [.. x.Select((v, i) => sigma * (v - mean[i]) / (deviation[i] * deviation[i] + sigma * sigma))];

        static double Normal(double v, double m, double s) => -0.5 * (v - m) * (v - m) / (s * s) - Math.Log(s) - 0.5 * Math.Log(2 * Math.PI);

        float[] Floats(string tensor) => MemoryMarshal.Cast<byte, float>(GoldenModel.Read(golden.IO, tensor)).ToArray();

        void Check(string output, Func<double[], double> bits)
        {
            float[] expected = Floats("out." + output);
            for (int n = 0; n < expected.Length; n++)
            {
                double got = bits([.. data.AsSpan(n * d, d).ToArray().Select(v => (double)v)]);
                Assert.True(Math.Abs(got - expected[n]) <= Bound, $"{name} {output}[{n}]: expected {expected[n]}, found {got}");
            }
        }
    }
}
