using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class ResampleTests
{
    [Theory]
    [InlineData(1, 1, 1, 3, 4, 5)]
    [InlineData(2, 7, 5, 17, 14, 10)]
    [InlineData(1, 8, 9, 33, 13, 20)]
    [InlineData(1, 9, 9, 4, 5, 3)]
    public void Nearest_takes_the_floor_and_keeps_to_its_channels(int n, int h, int w, int c, int oh, int ow)
    {
        int ldx = c + 2, ldy = c + 3;
        using var x = FloatBuffer.Normal(new Random(h), n * h * w * ldx);
        using var y = new FloatBuffer(n * oh * ow * ldy);
        Paths.AllAgree(y, pool => Resample.Nearest(pool, x.P, y.P, n, h, w, c, oh, ow, ldx, ldy));
        for (int i = 0; i < y.Count; i++)
        {
            int ch = i % ldy, ox = i / ldy % ow, oy = i / ldy / ow % oh, image = i / ldy / ow / oh;
            if (ch >= c) Assert.True(y.Untouched(i));
            else Assert.Equal(x.P[((image * h + oy * h / oh) * w + ox * w / ow) * ldx + ch], y.P[i]);
        }
    }

    [Theory]
    [InlineData(2, 8, 8, 17, 2, 2, 0, 0, false, false)]
    [InlineData(1, 7, 9, 3, 3, 2, 1, 1, true, false)]
    [InlineData(1, 7, 9, 33, 3, 2, 1, 1, false, true)]
    [InlineData(1, 5, 5, 1, 5, 1, 2, 0, true, true)]
    public void Average_pooling_matches_double(int n, int h, int w, int c, int kernel, int stride, int before, int after, bool count, bool ceiling)
    {
        int oh = Extent(h), ow = Extent(w), ldx = c + 1, ldy = c + 4;
        using var x = FloatBuffer.Normal(new Random(h), n * h * w * ldx);
        using var y = new FloatBuffer(n * oh * ow * ldy);
        var shape = new WindowShape
        {
            Batch = n, Height = h, Width = w, Channels = c, OutHeight = oh, OutWidth = ow, KernelH = kernel, KernelW = kernel, StrideH = stride, StrideW = stride,
            PadTop = before, PadLeft = before, PadBottom = after, PadRight = after, CountPadding = count, LdX = ldx, LdY = ldy,
        };
        Paths.AllAgree(y, pool => Resample.Average(pool, shape, x.P, y.P));
        for (int i = 0; i < y.Count; i++)
        {
            int ch = i % ldy, ox = i / ldy % ow, oy = i / ldy / ow % oh, image = i / ldy / ow / oh;
            if (ch >= c)
            {
                Assert.True(y.Untouched(i));
                continue;
            }

            double sum = 0;
            int padded = 0, real = 0;
            for (int r = oy * stride - before; r < oy * stride - before + kernel; r++)
            {
                for (int q = ox * stride - before; q < ox * stride - before + kernel; q++)
                {
                    if (r >= h + after || q >= w + after) continue;
                    padded++;
                    if (r < 0 || r >= h || q < 0 || q >= w) continue;
                    real++;
                    sum += x.P[((image * h + r) * w + q) * ldx + ch];
                }
            }

            double exact = sum / (count ? padded : real);
            Assert.InRange(y.P[i], exact - 1e-6, exact + 1e-6);
        }

        int Extent(int size)
        {
            int room = size + before + after - kernel, extent = (ceiling ? (room + stride - 1) / stride : room / stride) + 1;
            return ceiling && (extent - 1) * stride >= size + before ? extent - 1 : extent;
        }
    }

    [Theory]
    [InlineData(1, 5, 7, 17, 1, 1, 1, 2, 4)]
    [InlineData(2, 6, 4, 3, 2, 1, 2, 1, 4)]
    [InlineData(1, 8, 8, 32, 1, 2, 1, 1, 4)]
    [InlineData(1, 5, 6, 1, 3, 2, 3, 2, 6)]
    [InlineData(1, 4, 4, 35, 2, 1, 0, 0, 1)]
    public void Fir_is_zero_insertion_padding_and_flipped_convolution(int n, int h, int w, int c, int up, int down, int before, int after, int tapCount)
    {
        int oh = (h * up + before + after - tapCount) / down + 1, ow = (w * up + before + after - tapCount) / down + 1, ldx = c + 2, ldy = c + 5;
        var random = new Random(up * 10 + down);
        using var x = FloatBuffer.Normal(random, n * h * w * ldx);
        using var taps = FloatBuffer.Normal(random, tapCount);
        using var y = new FloatBuffer(n * oh * ow * ldy);
        Paths.AllAgree(y, pool => Resample.Fir(pool, x.P, y.P, n, h, w, c, oh, ow, taps.P, tapCount, up, down, before, ldx, ldy));

        // The definition, one stage after the other.
        for (int image = 0; image < n; image++)
        {
            for (int ch = 0; ch < c; ch++)
            {
                var map = new double[h * up + before + after, w * up + before + after];
                for (int r = 0; r < h; r++)
                    for (int q = 0; q < w; q++) map[before + r * up, before + q * up] = x.P[((image * h + r) * w + q) * ldx + ch];
                for (int oy = 0; oy < oh; oy++)
                {
                    for (int ox = 0; ox < ow; ox++)
                    {
                        double sum = 0;
                        for (int i = 0; i < tapCount; i++)
                            for (int k = 0; k < tapCount; k++) sum += map[oy * down + i, ox * down + k] * taps.P[tapCount - 1 - i] * taps.P[tapCount - 1 - k];
                        Assert.InRange(y.P[((image * oh + oy) * ow + ox) * ldy + ch], sum - 1e-5, sum + 1e-5);
                    }
                }
            }
        }

        for (int i = 0; i < y.Count; i++)
            if (i % ldy >= c) Assert.True(y.Untouched(i));
    }
}
