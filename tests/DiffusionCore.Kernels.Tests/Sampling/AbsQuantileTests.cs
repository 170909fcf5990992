using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class AbsQuantileTests
{
    [Theory]
    [InlineData(1, 1, 0.995)]
    [InlineData(2, 2, 0.5)]
    [InlineData(3, 97, 0.995)]
    [InlineData(2, 16_384, 0.995)]
    [InlineData(2, 1025, 0)]
    [InlineData(2, 1025, 1)]
    [InlineData(2, 101, 0.25)]
    public void The_quantile_is_that_of_the_sorted_magnitudes(int images, int n, double ratio)
    {
        using var x = FloatBuffer.Normal(new Random(n), images * n, 0.1, 3);
        for (int i = 0; i < images * n; i += 3) x.P[i] = MathF.Round(x.P[i]);      // equal values among them
        using var y = new FloatBuffer(images);
        Paths.AllAgree(y, pool => AbsQuantile.Run(pool, x.P, images, n, ratio, y.P));
        for (int image = 0; image < images; image++)
        {
            var sorted = x.Span.Slice(image * n, n).ToArray().Select(MathF.Abs).Order().ToArray();
            double at = ratio * (n - 1);
            int below = (int)at, above = Math.Min(n - 1, below + 1);
            Assert.Equal((float)(sorted[below] + (at - below) * ((double)sorted[above] - sorted[below])), y.P[image]);
        }
    }

    [Fact]
    public void Equal_and_infinite_values_are_taken_as_they_are()
    {
        using var pool = new WorkerPool(1);
        float[] x = [-2, 2, -2, 2, float.PositiveInfinity, -0f];
        float y;
        fixed (float* p = x)
        {
            AbsQuantile.Run(pool, p, 1, 6, 0.5, &y);
            Assert.Equal(2, y);
            AbsQuantile.Run(pool, p, 1, 6, 1, &y);
            Assert.Equal(float.PositiveInfinity, y);
            AbsQuantile.Run(pool, p, 1, 6, 0, &y);
            Assert.Equal(0, y);
        }
    }
}
