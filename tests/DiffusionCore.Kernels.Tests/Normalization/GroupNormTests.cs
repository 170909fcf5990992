using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class GroupNormTests
{
    private const float Epsilon = 1e-5f;

    [Theory]
    [InlineData(1, 1, 1, 1, Activation.None, true)]
    [InlineData(2, 97, 32, 32, Activation.Silu, true)]
    [InlineData(2, 111, 64, 32, Activation.None, false)]
    [InlineData(1, 1025, 96, 32, Activation.Silu, true)]
    [InlineData(3, 17, 51, 3, Activation.Gelu, true)]
    [InlineData(1, 2500, 7, 7, Activation.Relu, false)]
    [InlineData(2, 300, 320, 32, Activation.Silu, false)]
    [InlineData(1, 5, 1300, 1, Activation.Tanh, true)]
    public void It_matches_double_on_every_path_and_thread_count(int n, int pixels, int channels, int groups, Activation activation, bool modulated) =>
        Check(n, pixels, channels, groups, activation, modulated, 0.3, 2, withGamma: true, withBeta: true);

    [Theory]
    [InlineData(97, 32, 8, 1000, 0.01)]
    [InlineData(1600, 6, 2, -1000, 0.01)]
    [InlineData(1030, 40, 40, 1000, 0.01)]
    public void A_mean_far_above_sigma_does_not_cancel(int pixels, int channels, int groups, double mean, double deviation) =>
        Check(1, pixels, channels, groups, Activation.None, false, mean, deviation, withGamma: true, withBeta: true);

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void Gamma_and_beta_may_each_be_absent(bool gamma, bool beta) => Check(2, 50, 24, 4, Activation.Silu, true, 0, 1, gamma, beta);

    [Fact]
    public void Equal_elements_give_beta()
    {
        using var x = new FloatBuffer(64 * 8);
        using var y = new FloatBuffer(64 * 8);
        using var beta = new FloatBuffer(8);
        x.Span.Fill(12345.678f);
        for (int c = 0; c < 8; c++) beta.P[c] = c;
        using var pool = new WorkerPool(1);
        using var scratch = Scratch(1, 64, 8, 2, 1);
        GroupNorm.Run(pool, x.P, 8, y.P, 8, 1, 64, 8, 2, null, beta.P, Epsilon, null, null, 0, Activation.None, scratch.P);
        for (int i = 0; i < 64 * 8; i++) Assert.Equal(i % 8, y.P[i]);
    }

    [Fact]
    public void A_first_pixel_far_from_the_others_costs_little_accuracy()
    {
        const int pixels = 900, channels = 16;
        var random = new Random(3);
        using var x = FloatBuffer.Normal(random, pixels * channels);
        for (int c = 0; c < channels; c++) x.P[c] = 100;
        using var y = new FloatBuffer(pixels * channels);
        using var pool = new WorkerPool(1);
        using var scratch = Scratch(1, pixels, channels, 4, 1);
        GroupNorm.Run(pool, x.P, channels, y.P, channels, 1, pixels, channels, 4, null, null, Epsilon, null, null, 0, Activation.None, scratch.P);
        var exact = Exact(x.P, channels, 1, pixels, channels, 4, null, null, null, null, 0, Activation.None);
        for (int i = 0; i < exact.Length; i++) Assert.InRange(y.P[i], exact[i] - 2e-6 - Math.Abs(exact[i]) * 4e-6, exact[i] + 2e-6 + Math.Abs(exact[i]) * 4e-6);
    }

    [Fact]
    public void An_image_does_not_see_its_batch_and_the_map_may_be_overwritten()
    {
        const int n = 3, pixels = 700, channels = 48, groups = 6;
        var random = new Random(11);
        using var x = FloatBuffer.Normal(random, n * pixels * channels, 0.5, 3);
        using var together = new FloatBuffer(n * pixels * channels);
        using var pool = new WorkerPool(2);
        using var scratch = Scratch(n, pixels, channels, groups, 2);
        GroupNorm.Run(pool, x.P, channels, together.P, channels, n, pixels, channels, groups, null, null, Epsilon, null, null, 0, Activation.Silu, scratch.P);
        for (int image = 0; image < n; image++)
        {
            float* one = x.P + image * pixels * channels;
            GroupNorm.Run(pool, one, channels, one, channels, 1, pixels, channels, groups, null, null, Epsilon, null, null, 0, Activation.Silu, scratch.P);
        }

        Assert.True(x.Span.SequenceEqual(together.Span));
    }

    private static void Check(int n, int pixels, int channels, int groups, Activation activation, bool modulated, double mean, double deviation, bool withGamma, bool withBeta)
    {
        var random = new Random(pixels * 7 + channels);
        int ldx = channels + 3, ldy = channels + 5, pitch = 2 * channels + 1;
        using var x = FloatBuffer.Normal(random, (long)n * pixels * ldx, mean, deviation);
        using var gamma = FloatBuffer.Normal(random, channels, 1, 0.2);
        using var beta = FloatBuffer.Normal(random, channels);
        using var modulation = FloatBuffer.Normal(random, n * pitch, 0, 0.5);
        using var y = new FloatBuffer((long)n * pixels * ldy);
        using var scratch = Scratch(n, pixels, channels, groups, 3);
        float* g = withGamma ? gamma.P : null;
        float* b = withBeta ? beta.P : null;
        float* scale = modulated ? modulation.P : null;
        float* shift = modulated ? modulation.P + channels : null;
        var (xp, yp, sp) = ((nint)x.P, (nint)y.P, (nint)scratch.P);
        var (gp, bp, scp, shp) = ((nint)g, (nint)b, (nint)scale, (nint)shift);
        Paths.AllAgree(y, pool => GroupNorm.Run(
            pool, (float*)xp, ldx, (float*)yp, ldy, n, pixels, channels, groups, (float*)gp, (float*)bp, Epsilon, (float*)scp, (float*)shp, pitch, activation, (void*)sp));

        var exact = Exact(x.P, ldx, n, pixels, channels, groups, g, b, scale, shift, pitch, activation);
        double worst = 0, naive = 0;
        for (int row = 0; row < n * pixels; row++)
        {
            for (int c = 0; c < channels; c++) worst = Worst(worst, y.P[(long)row * ldy + c] - exact[(long)row * channels + c]);
            for (int c = channels; c < ldy; c++) Assert.True(y.Untouched((long)row * ldy + c), $"row {row}: gap element {c - channels} was written");
        }

        var simple = Naive(x.P, ldx, n, pixels, channels, groups, g, b, scale, shift, pitch, activation);
        for (int i = 0; i < exact.Length; i++) naive = Worst(naive, simple[i] - exact[i]);
        Assert.True(worst <= 2 * naive + 2e-6, $"error {worst:G3}, two-pass float {naive:G3}");
        Assert.True(worst <= 3e-5, $"error {worst:G3}");
    }

    private static double Worst(double worst, double error) => double.IsNaN(error) ? double.PositiveInfinity : Math.Max(worst, Math.Abs(error));

    private static FloatBuffer Scratch(int n, int pixels, int channels, int groups, int workers) => new(GroupNorm.ScratchBytes(n, pixels, channels, groups, workers) / 4);

    private static double[] Exact(
        float* x, int ldx, int n, int pixels, int channels, int groups, float* gamma, float* beta, float* scale, float* shift, int pitch, Activation activation)
    {
        var y = new double[(long)n * pixels * channels];
        int width = channels / groups;
        for (int image = 0; image < n; image++)
        {
            for (int g = 0; g < groups; g++)
            {
                double mean = 0, spread = 0;
                for (int p = 0; p < pixels; p++)
                    for (int c = g * width; c < (g + 1) * width; c++) mean += x[((long)image * pixels + p) * ldx + c];
                mean /= (double)pixels * width;
                for (int p = 0; p < pixels; p++)
                    for (int c = g * width; c < (g + 1) * width; c++) spread += Math.Pow(x[((long)image * pixels + p) * ldx + c] - mean, 2);
                double inverse = 1 / Math.Sqrt(spread / ((double)pixels * width) + Epsilon);
                for (int p = 0; p < pixels; p++)
                {
                    for (int c = g * width; c < (g + 1) * width; c++)
                    {
                        double v = (x[((long)image * pixels + p) * ldx + c] - mean) * inverse;
                        v = v * (gamma == null ? 1 : gamma[c]) + (beta == null ? 0 : beta[c]);
                        if (scale != null) v = v * (1 + (double)scale[image * pitch + c]) + shift[image * pitch + c];
                        y[((long)image * pixels + p) * channels + c] = Reference.Apply(activation, v);
                    }
                }
            }
        }

        return y;
    }

    // The obvious float code: two passes, one running sum each.
    private static float[] Naive(
        float* x, int ldx, int n, int pixels, int channels, int groups, float* gamma, float* beta, float* scale, float* shift, int pitch, Activation activation)
    {
        var y = new float[(long)n * pixels * channels];
        int width = channels / groups;
        for (int image = 0; image < n; image++)
        {
            for (int g = 0; g < groups; g++)
            {
                float mean = 0, spread = 0;
                for (int p = 0; p < pixels; p++)
                    for (int c = g * width; c < (g + 1) * width; c++) mean += x[((long)image * pixels + p) * ldx + c];
                mean /= (float)pixels * width;
                for (int p = 0; p < pixels; p++)
                {
                    for (int c = g * width; c < (g + 1) * width; c++)
                    {
                        float d = x[((long)image * pixels + p) * ldx + c] - mean;
                        spread += d * d;
                    }
                }

                float inverse = 1 / MathF.Sqrt(spread / ((float)pixels * width) + Epsilon);
                for (int p = 0; p < pixels; p++)
                {
                    for (int c = g * width; c < (g + 1) * width; c++)
                    {
                        float v = (x[((long)image * pixels + p) * ldx + c] - mean) * inverse;
                        v = v * (gamma == null ? 1 : gamma[c]) + (beta == null ? 0 : beta[c]);
                        if (scale != null) v = v * (1 + scale[image * pitch + c]) + shift[image * pitch + c];
                        y[((long)image * pixels + p) * channels + c] = (float)Reference.Apply(activation, v);
                    }
                }
            }
        }

        return y;
    }
}
