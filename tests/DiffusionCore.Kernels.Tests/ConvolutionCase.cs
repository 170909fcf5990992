using DiffusionCore.Kernels.Host;
using static DiffusionCore.Kernels.Tests.GemmTestSupport;

namespace DiffusionCore.Kernels.Tests;

/// <summary>A convolution with random operands and epilogue, run by any kernel that takes it and checked in double.</summary>
internal sealed unsafe class ConvolutionCase
{
    private readonly ConvShape s;
    private readonly int ldx, ldy;
    private readonly WeightType type;
    private readonly float[] x, worth;
    private readonly byte[] stored;
    private readonly EpilogueCase epilogue;

    public static ConvShape Shape(int batch, int h, int w, int c, int o, int kh, int kw, int sh, int sw, int top, int left, int bottom, int right, int dh = 1, int dw = 1) => new()
    {
        Batch = batch, Height = h, Width = w, Channels = c, Outputs = o, KernelH = kh, KernelW = kw, StrideH = sh, StrideW = sw,
        PadTop = top, PadLeft = left, PadBottom = bottom, PadRight = right, DilationH = dh, DilationW = dw,
    };

    public ConvolutionCase(Random random, ConvShape shape, WeightType type, int parts, Activation activation)
    {
        (s, this.type) = (shape, type);
        ldx = s.Channels + (parts % 2 == 0 ? 0 : 3);            // dense maps are copied by whole rows
        ldy = s.Outputs + 5;
        x = GemmTestSupport.Random(random, (long)s.Batch * s.Height * s.Width * ldx);
        int terms = s.Channels * s.KernelH * s.KernelW;
        (stored, worth) = Store(GemmTestSupport.Random(random, (long)s.Outputs * terms, 2 / MathF.Sqrt(terms)), type);
        epilogue = EpilogueCase.Of(random, parts, activation, s.Outputs, s.Batch, (long)s.Batch * s.OutHeight * s.OutWidth);
    }

    private ConvolutionCase(ConvolutionCase batch, int image)
    {
        (s, ldx, ldy, type, stored, worth, epilogue) = (batch.s, batch.ldx, batch.ldy, batch.type, batch.stored, batch.worth, batch.epilogue);
        s.Batch = 1;
        int floats = s.Height * s.Width * ldx;
        x = batch.x[(image * floats)..((image + 1) * floats)];
    }

    public ConvolutionCase Image(int image) => new(this, image);

    public float[] Run(Isa isa, int threads, WinogradTile tile) => Run(isa, threads, (ConvolutionKernel)tile);

    public float[] Run(Isa isa, int threads, ConvolutionKernel kernel = ConvolutionKernel.Direct)
    {
        using var memory = new Memory();
        using var pool = new WorkerPool(threads);
        byte* raw = (byte*)memory.Bytes(stored.Length);
        stored.CopyTo(new Span<byte>(raw, stored.Length));
        int taps = s.KernelH * s.KernelW, pixels = s.Batch * s.OutHeight * s.OutWidth;
        void* packed = memory.Bytes(PackedWeights.Bytes(s.Outputs, s.Channels, taps, type));
        PackedWeights.Pack(isa, raw, type, s.Outputs, s.Channels, taps, packed);
        float* y = memory.Floats(pixels * ldy);
        for (int i = 0; i < pixels; i++)
            for (int j = s.Outputs; j < ldy; j++) y[i * ldy + j] = Canary;
        float* map = memory.Copy(x);
        var e = epilogue.Bind(memory);
        switch (kernel)
        {
            case ConvolutionKernel.Direct:
                Convolution.Run(isa, pool, s, map, ldx, packed, type, y, ldy, e, memory.Bytes(Convolution.ScratchBytes(s, type, threads)));
                break;
            case ConvolutionKernel.FewOutputs:
                FewOutputs.Run(isa, pool, s, map, ldx, packed, type, y, ldy, e, memory.Bytes(FewOutputs.ScratchBytes(s)));
                break;
            default:
                Winograd.Run(isa, pool, s, (WinogradTile)kernel, map, ldx, packed, type, y, ldy, e, memory.Bytes(Winograd.ScratchBytes(s, (WinogradTile)kernel, type, threads)));
                break;
        }

        return new Span<float>(y, pixels * ldy).ToArray();
    }

    public void Check(float[] y)
    {
        var (exact, naive, actual) = Results(y);
        AssertClose(exact, naive, actual, $"{s.Batch}x{s.Height}x{s.Width}x{s.Channels} to {s.Outputs}, {s.KernelH}x{s.KernelW}, {type}");
    }

    /// <summary>Root of the mean square error over that of the exact results.</summary>
    public double RelativeError(float[] y)
    {
        var (exact, _, actual) = Results(y);
        double error = 0, whole = 0;
        for (int i = 0; i < exact.Length; i++)
        {
            error += (actual[i] - exact[i]) * (actual[i] - exact[i]);
            whole += exact[i] * exact[i];
        }

        return Math.Sqrt(error / whole);
    }

    private (double[] Exact, double[] Naive, float[] Actual) Results(float[] y)
    {
        int pixels = s.Batch * s.OutHeight * s.OutWidth, taps = s.KernelH * s.KernelW;
        double[] exact = new double[pixels * s.Outputs], naive = new double[pixels * s.Outputs];
        float[] actual = new float[pixels * s.Outputs];
        for (int p = 0; p < pixels; p++)
        {
            int image = p / (s.OutHeight * s.OutWidth), oy = p / s.OutWidth % s.OutHeight, ox = p % s.OutWidth;
            for (int j = s.Outputs; j < ldy; j++) Assert.Equal(Canary, y[p * ldy + j]);
            for (int o = 0; o < s.Outputs; o++)
            {
                double sum = 0;
                float plain = 0;
                for (int t = 0; t < taps; t++)
                {
                    int iy = oy * s.StrideH - s.PadTop + t / s.KernelW * s.DilationH, ix = ox * s.StrideW - s.PadLeft + t % s.KernelW * s.DilationW;
                    if (iy < 0 || iy >= s.Height || ix < 0 || ix >= s.Width) continue;
                    int at = ((image * s.Height + iy) * s.Width + ix) * ldx;
                    for (int c = 0; c < s.Channels; c++)
                    {
                        float w = worth[(o * s.Channels + c) * taps + t];
                        sum += (double)x[at + c] * w;
                        plain += x[at + c] * w;
                    }
                }

                exact[p * s.Outputs + o] = epilogue.Exact(sum, p, image, o);
                naive[p * s.Outputs + o] = epilogue.Naive(plain, p, image, o);
                actual[p * s.Outputs + o] = y[p * ldy + o];
            }
        }

        return (exact, naive, actual);
    }
}
