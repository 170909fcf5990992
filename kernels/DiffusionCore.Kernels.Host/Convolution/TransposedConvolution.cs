// Transposed convolution, channels last: what a strided convolution's gradient does, gathered per output pixel.
//
//   y[n, i, j, o] = b[o] + sum over (a, b), c of x[n, (i + top - a*dh)/sh, (j + left - b*dw)/sw, c] * W[c, o, a, b],
//   over the taps for which both quotients are whole and inside the map. Groups cut C and O alike.
//   x: [N, H, W, C], W: [C, O/groups, kh, kw] (torch order), b: [O], y: [N, OH, OW, O].
//
// Work split  first the weights are laid out as [group][tap][c][o padded to 16], one input channel per item; then output rows.
// Numerics    the bias starts the sum; taps in row-major order, inputs inside; FMA; lanes are outputs.
// Roofline    2 N H W C O kh kw flops, compute bound. One sum of 16 outputs is in flight per lane group, so this is far from the peak: it serves the
//             few transposed convolutions of first stages (4 -> 4 channels). Idea: stride*stride ordinary convolutions on the fast kernel.
namespace DiffusionCore.Kernels.Host;

/// <summary>Extents of a transposed convolution; all in elements.</summary>
public struct TransposedConvShape
{
    public int Batch, Height, Width, Channels, Outputs, OutHeight, OutWidth, KernelH, KernelW, StrideH, StrideW, PadTop, PadLeft, DilationH, DilationW, Groups;

    internal readonly int GroupInputs => Channels / Groups;

    internal readonly int GroupOutputs => Outputs / Groups;

    // Outputs of a group in whole vectors.
    internal readonly int Padded => (GroupOutputs + 15) / 16 * 16;
}

/// <summary>Direct transposed convolution.</summary>
public static unsafe class TransposedConvolution
{
    /// <summary>Bytes that <see cref="Run"/> needs for the weights in its own order.</summary>
    public static long ScratchBytes(in TransposedConvShape s) => (long)s.Channels * s.KernelH * s.KernelW * s.Padded * sizeof(float);

    /// <param name="bias">Null for none.</param>
    public static void Run(WorkerPool pool, in TransposedConvShape shape, float* x, float* weights, float* bias, float* y, void* scratch)
    {
        var s = new Arguments { X = x, Weights = weights, Bias = bias, Y = y, Packed = (float*)scratch, Shape = shape };
        pool.For(shape.Channels, &PackChannel, &s);
        int rows = shape.Batch * shape.OutHeight;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(rows, &Row<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(rows, &Row<Simd16Avx2>, &s); break;
            default: pool.For(rows, &Row<Simd16Scalar>, &s); break;
        }
    }

    private struct Arguments
    {
        public float* X, Weights, Bias, Y, Packed;
        public TransposedConvShape Shape;
    }

    private static void PackChannel(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int taps = s.KernelH * s.KernelW, group = item / s.GroupInputs, c = item % s.GroupInputs;
        float* src = a->Weights + (long)item * s.GroupOutputs * taps;
        for (int t = 0; t < taps; t++)
        {
            float* dst = a->Packed + (((long)group * taps + t) * s.GroupInputs + c) * s.Padded;
            for (int o = 0; o < s.Padded; o++) dst[o] = o < s.GroupOutputs ? src[(long)o * taps + t] : 0;
        }
    }

    private static void Row<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int image = item / s.OutHeight, i = item % s.OutHeight, taps = s.KernelH * s.KernelW;
        float* map = a->X + (long)image * s.Height * s.Width * s.Channels;
        float* lanes = stackalloc float[16];
        for (int j = 0; j < s.OutWidth; j++)
        {
            float* y = a->Y + ((long)item * s.OutWidth + j) * s.Outputs;
            for (int group = 0; group < s.Groups; group++)
            {
                for (int o = 0; o < s.GroupOutputs; o += 16)
                {
                    int count = Math.Min(16, s.GroupOutputs - o), first = group * s.GroupOutputs + o;
                    for (int l = 0; l < 16; l++) lanes[l] = a->Bias != null && l < count ? a->Bias[first + l] : 0;
                    V sum = V.Load(lanes);
                    for (int u = 0; u < s.KernelH; u++)
                    {
                        int r = i + s.PadTop - u * s.DilationH;
                        if (r < 0 || r % s.StrideH != 0 || r / s.StrideH >= s.Height) continue;
                        for (int v = 0; v < s.KernelW; v++)
                        {
                            int q = j + s.PadLeft - v * s.DilationW;
                            if (q < 0 || q % s.StrideW != 0 || q / s.StrideW >= s.Width) continue;
                            float* x = map + ((long)(r / s.StrideH) * s.Width + q / s.StrideW) * s.Channels + group * s.GroupInputs;
                            float* w = a->Packed + ((long)group * taps + u * s.KernelW + v) * s.GroupInputs * s.Padded + o;
                            for (int c = 0; c < s.GroupInputs; c++, w += s.Padded) sum = V.MultiplyAdd(V.Create(x[c]), V.Load(w), sum);
                        }
                    }

                    V.Store(sum, lanes);
                    for (int l = 0; l < count; l++) y[first + l] = lanes[l];
                }
            }
        }
    }
}
