using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class GroupNormGradientTests
{
    private const float Epsilon = 1e-5f;

    [Theory]
    [InlineData(1, 1, 2, 1, 0.3, 2)]
    [InlineData(2, 97, 32, 32, 0.3, 2)]
    [InlineData(2, 111, 64, 32, 0.3, 2)]
    [InlineData(1, 1025, 96, 32, 0.3, 2)]
    [InlineData(3, 17, 51, 3, 0.3, 2)]
    [InlineData(1, 2500, 7, 7, 0.3, 2)]
    [InlineData(1, 5, 1300, 1, 0.3, 2)]
    [InlineData(1, 97, 32, 8, 1000, 0.01)]
    public void It_matches_double_on_every_path_and_thread_count(int n, int pixels, int channels, int groups, double mean, double deviation)
    {
        foreach (bool withGamma in (bool[])[false, true])
        {
            var random = new Random(5);
            long count = (long)n * pixels * channels;
            using var x = FloatBuffer.Normal(random, count, mean, deviation);
            using var dy = FloatBuffer.Normal(random, count, 0.4);
            using var gamma = FloatBuffer.Normal(random, channels, 1, 0.5);
            using var dx = new FloatBuffer(count);
            using var scratch = new FloatBuffer((GroupNormGradient.ScratchBytes(channels, groups, 3) + 7) / 4);
            float* scale = withGamma ? gamma.P : null;
            Paths.AllAgree(dx, pool => GroupNormGradient.Run(pool, x.P, dy.P, dx.P, n, pixels, channels, groups, scale, Epsilon, scratch.P));
            var (exact, largest) = Exact(x, dy, n, pixels, channels, groups, scale);
            double error = 0;
            for (int i = 0; i < exact.Length; i++) error = Math.Max(error, Math.Abs(exact[i] - dx.P[i]));
            // Of the terms that are subtracted from each other: with two elements nothing of them is left.
            Assert.True(error <= 3e-6 * largest, $"{error} of {largest}");
        }
    }

    private static (double[] Gradient, double Largest) Exact(FloatBuffer x, FloatBuffer dy, int n, int pixels, int channels, int groups, float* gamma)
    {
        var r = new double[x.Count];
        int width = channels / groups;
        double largest = 0;
        for (int image = 0; image < n; image++)
        {
            for (int g = 0; g < groups; g++)
            {
                int[] at = [.. from p in Enumerable.Range(0, pixels) from c in Enumerable.Range(g * width, width) select (image * pixels + p) * channels + c];
                double G(int i) => (double)dy.P[i] * (gamma == null ? 1 : gamma[i % channels]);
                double mean = at.Average(i => (double)x.P[i]), s = Math.Sqrt(at.Average(i => (x.P[i] - mean) * (x.P[i] - mean)) + Epsilon);
                double first = at.Average(G), second = at.Average(i => G(i) * (x.P[i] - mean) / s);
                largest = Math.Max(largest, at.Max(i => Math.Abs(G(i)) / s));
                foreach (int i in at) r[i] = (G(i) - first - (x.P[i] - mean) / s * second) / s;
            }
        }

        return (r, largest);
    }
}
