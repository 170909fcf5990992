using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe class TransposedConvolutionTests
{
    [Theory]
    [InlineData(2, 8, 8, 4, 4, 4, 2, 1, 1, 1, 0)]
    [InlineData(1, 5, 7, 6, 34, 3, 3, 0, 1, 2, 1)]
    [InlineData(1, 3, 4, 18, 9, 2, 1, 0, 2, 3, 0)]
    [InlineData(2, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0)]
    public void It_scatters_every_input_over_the_kernel(int n, int h, int w, int c, int o, int kernel, int stride, int pad, int dilation, int groups, int extra)
    {
        int oh = (h - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1 + extra, ow = (w - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1 + extra;
        int perGroup = o / groups, taps = kernel * kernel;
        var random = new Random(h * 100 + o);
        using var x = FloatBuffer.Normal(random, n * h * w * c);
        using var weights = FloatBuffer.Normal(random, c * perGroup * taps);
        using var bias = FloatBuffer.Normal(random, o);
        using var y = new FloatBuffer(n * oh * ow * o);
        var shape = new TransposedConvShape
        {
            Batch = n, Height = h, Width = w, Channels = c, Outputs = o, OutHeight = oh, OutWidth = ow, KernelH = kernel, KernelW = kernel, StrideH = stride, StrideW = stride,
            PadTop = pad, PadLeft = pad, DilationH = dilation, DilationW = dilation, Groups = groups,
        };
        using var scratch = new FloatBuffer((int)(TransposedConvolution.ScratchBytes(shape) / sizeof(float)));
        Paths.AllAgree(y, pool => TransposedConvolution.Run(pool, shape, x.P, weights.P, bias.P, y.P, scratch.P));

        var exact = new double[y.Count];
        for (int i = 0; i < exact.Length; i++) exact[i] = bias.P[i % o];
        for (int i = 0; i < x.Count; i++)
        {
            int ch = i % c, col = i / c % w, row = i / c / w % h, image = i / c / w / h, group = ch / (c / groups);
            for (int q = 0; q < perGroup; q++)
            {
                for (int t = 0; t < taps; t++)
                {
                    int r = row * stride - pad + t / kernel * dilation, s = col * stride - pad + t % kernel * dilation;
                    if (r >= 0 && r < oh && s >= 0 && s < ow) exact[((image * oh + r) * ow + s) * o + group * perGroup + q] += (double)x.P[i] * weights.P[(ch * perGroup + q) * taps + t];
                }
            }
        }

        for (int i = 0; i < exact.Length; i++) Assert.InRange(y.P[i], exact[i] - 2e-5, exact[i] + 2e-5);
    }
}
