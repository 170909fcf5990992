using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class RowKernelTests
{
    private const float Epsilon = 1e-6f;

    [Theory]
    [InlineData(1, 1, 0, 1)]
    [InlineData(13, 17, 0.5, 2)]
    [InlineData(97, 111, 0, 1)]
    [InlineData(5, 320, -3, 0.1)]
    [InlineData(300, 768, 0, 4)]
    [InlineData(9, 97, 1000, 0.01)]
    [InlineData(2, 1025, -1000, 0.01)]
    public void Layer_norm_matches_double(int rows, int channels, double mean, double deviation)
    {
        foreach (bool affine in new[] { true, false }) Check(rows, channels, mean, deviation, affine, affine, rms: false);
        Check(rows, channels, mean, deviation, true, false, rms: false);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(13, 17)]
    [InlineData(97, 111)]
    [InlineData(30, 768)]
    public void Rms_norm_matches_double(int rows, int channels)
    {
        Check(rows, channels, 0.2, 3, true, false, rms: true);
        Check(rows, channels, 0.2, 3, false, false, rms: true);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(97, 17)]
    [InlineData(31, 77)]
    [InlineData(111, 64)]
    [InlineData(3, 4097)]
    public void Softmax_matches_double_and_takes_masks(int rows, int n)
    {
        var random = new Random(rows + n);
        using var x = FloatBuffer.Normal(random, rows * n, 20, 8);
        for (int i = 1; i < n; i += 3) x.P[i] = float.NegativeInfinity;
        if (rows > 2) new Span<float>(x.P + n, n).Fill(float.NegativeInfinity);
        using var y = new FloatBuffer(rows * n);
        Paths.AllAgree(y, pool => Softmax.Run(pool, x.P, y.P, rows, n));
        for (int r = 0; r < rows; r++)
        {
            double top = double.NegativeInfinity, sum = 0;
            for (int i = 0; i < n; i++) top = Math.Max(top, x.P[r * n + i]);
            for (int i = 0; i < n; i++) sum += Math.Exp(x.P[r * n + i] - top);
            for (int i = 0; i < n; i++)
            {
                double below = top - x.P[r * n + i], exact = double.IsNegativeInfinity(top) || double.IsInfinity(below) ? 0 : Math.Exp(-below) / sum;
                double relative = 4e-7 + (exact == 0 ? 0 : below * 6e-8);       // x - max is rounded before the exponential
                Assert.True(Math.Abs(y.P[r * n + i] - exact) <= relative * exact + 1e-37, $"row {r}, {i}: {y.P[r * n + i]:G9} for {exact:G9}");
            }
        }

        using var pool = new WorkerPool(1);
        Softmax.Run(pool, x.P, x.P, rows, n);
        Assert.True(x.Span.SequenceEqual(y.Span), "in place");
    }

    [Fact]
    public void A_nan_in_a_softmax_row_poisons_that_row_only()
    {
        using var x = FloatBuffer.Normal(new Random(2), 60);
        using var y = new FloatBuffer(60);
        x.P[23] = float.NaN;
        using var pool = new WorkerPool(1);
        Softmax.Run(pool, x.P, y.P, 3, 20);
        for (int i = 0; i < 60; i++) Assert.Equal(i / 20 == 1, float.IsNaN(y.P[i]));
    }

    private static void Check(int rows, int channels, double mean, double deviation, bool withGamma, bool withBeta, bool rms)
    {
        var random = new Random(rows * 3 + channels);
        int ldx = channels + 2, ldy = channels + 7;
        using var x = FloatBuffer.Normal(random, rows * ldx, mean, deviation);
        using var gamma = FloatBuffer.Normal(random, channels, 1, 0.3);
        using var beta = FloatBuffer.Normal(random, channels);
        using var y = new FloatBuffer(rows * ldy);
        Paths.AllAgree(y, pool =>
        {
            float* g = withGamma ? gamma.P : null;
            float* b = withBeta ? beta.P : null;
            if (rms) RmsNorm.Run(pool, x.P, ldx, y.P, ldy, rows, channels, g, Epsilon);
            else LayerNorm.Run(pool, x.P, ldx, y.P, ldy, rows, channels, g, b, Epsilon);
        });
        for (int r = 0; r < rows; r++)
        {
            double mu = 0, spread = 0;
            for (int c = 0; c < channels; c++) mu += rms ? 0 : x.P[r * ldx + c] / (double)channels;
            for (int c = 0; c < channels; c++) spread += Math.Pow(x.P[r * ldx + c] - mu, 2) / channels;
            double inverse = 1 / Math.Sqrt(spread + Epsilon);
            for (int c = 0; c < channels; c++)
            {
                double exact = (x.P[r * ldx + c] - mu) * inverse * (withGamma ? gamma.P[c] : 1) + (withBeta ? beta.P[c] : 0);
                Assert.True(Math.Abs(y.P[r * ldy + c] - exact) <= 2e-6 * Math.Max(1, Math.Abs(exact)), $"row {r}, channel {c}: {y.P[r * ldy + c]:G9} for {exact:G9}");
            }

            for (int c = channels; c < ldy; c++) Assert.True(y.Untouched(r * ldy + c));
        }
    }
}
