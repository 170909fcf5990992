// Convolution to 1 to 4 outputs: lanes over input channels, where panels of 16 outputs would compute 12 to 15 columns of padding.
//
//   y[n, i, j, o] = epilogue( sum over (a, b), c of x[n, i - top + a, j - left + b, c] * W[o, c, a, b] ), zero outside; stride and dilation 1.
//   x: [N, H, W, C] with a pitch, C a multiple of 16; y: [N, OH, OW, O] with a pitch.
//
// Work split  rows of output. Four pixels at a time, so that a tap's weights are loaded once for them: 16 accumulators.
// Weights     the packed form has outputs in lanes; a call turns it around first, [o][tap][c] in F32 (128 to 3: 14 KB).
// Numerics    per result one chain of FMA per lane over taps (row by row), channels inner, then the tree over sixteen lanes. No block of terms: the
//             longest chain is 9 C / 16.
// Roofline    2 O kh kw C flops and 4 C bytes a pixel: compute bound from 9 taps on.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Convolution whose outputs do not fill a vector.</summary>
public static unsafe class FewOutputs
{
    private const int MostOutputs = 4;
    private const int Pixels = 4;

    /// <summary>Null where this kernel takes the shape, else why not.</summary>
    public static string? Declines(in ConvShape s) =>
        s.Outputs > MostOutputs ? "more than 4 outputs"
        : s.StrideH != 1 || s.StrideW != 1 ? "strided"
        : s.DilationH != 1 || s.DilationW != 1 ? "dilated"
        : s.Factor != 1 ? "of an enlarged map"
        : s.Channels % 16 != 0 ? "channels not a multiple of 16"
        : s.OutHeight < 1 || s.OutWidth < 1 ? "kernel larger than the padded map" : null;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(in ConvShape s) => ((long)MostOutputs * s.KernelH * s.KernelW + 1) * s.Channels * sizeof(float);

    /// <param name="packed">W: [O, C, kh*kw], from <see cref="PackedWeights"/>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    public static void Run(WorkerPool pool, in ConvShape s, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch) =>
        Run(HostIsa.Active, pool, s, x, ldx, packed, type, y, ldy, epilogue, scratch);

    internal static void Run(
        Isa isa, WorkerPool pool, in ConvShape s, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch)
    {
        int taps = s.KernelH * s.KernelW;
        var a = new Arguments { Shape = s, X = x, Y = y, LdX = ldx, LdY = ldy, Epilogue = epilogue, Zeros = (float*)scratch };
        a.Weights = a.Zeros + s.Channels;
        new Span<float>(scratch, s.Channels * (1 + MostOutputs * taps)).Clear();
        float* lanes = stackalloc float[16];
        for (int t = 0; t < taps; t++)
        {
            for (int c = 0; c < s.Channels; c++)
            {
                long at = ((long)t * s.Channels + c) * 16;      // one panel of 16 holds all outputs
                float* panel = (float*)packed + at;
                if (type != WeightType.F32) PackedWeights.Widen(isa, (byte*)packed + at * 2, type, panel = lanes, 16);
                for (int o = 0; o < s.Outputs; o++) a.Weights[((long)o * taps + t) * s.Channels + c] = panel[o];
            }
        }

        switch (isa)
        {
            case Isa.Avx512: pool.For(s.Batch * s.OutHeight, &Row<Simd16Avx512>, &a); break;
            case Isa.Avx2: pool.For(s.Batch * s.OutHeight, &Row<Simd16Avx2>, &a); break;
            default: pool.For(s.Batch * s.OutHeight, &Row<Simd16Scalar>, &a); break;
        }
    }

    private struct Arguments
    {
        public ConvShape Shape;
        public float* X, Y, Weights, Zeros;
        public long LdX, LdY;
        public Epilogue Epilogue;
    }

    private static void Row<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int image = item / s.OutHeight, row = item % s.OutHeight, taps = s.KernelH * s.KernelW;
        float* sums = stackalloc float[Pixels * 16], pads = stackalloc float[TileEpilogue.PadFloats], bias = null;
        float** pixels = stackalloc float*[Pixels];
        long* places = stackalloc long[Pixels];
        new Span<float>(sums, Pixels * 16).Clear();
        if (a->Epilogue.Bias != null)
        {
            bias = pads;
            TileEpilogue.Pad(a->Epilogue.Bias, s.Outputs, 16, bias);
        }

        for (int column = 0; column < s.OutWidth; column += Pixels)
        {
            int count = Math.Min(Pixels, s.OutWidth - column);
            // Sixteen sums need the registers of AVX-512; elsewhere the outputs take turns, each by the same chain.
            if (typeof(V) != typeof(Simd16Avx512))
            {
                for (int o = 0; o < s.Outputs; o++) Sums<V>(*a, image, row, column, a->Weights + (long)o * taps * s.Channels, sums + o, pixels, false, false, false);
            }
            else
            {
                switch (s.Outputs)
                {
                    case 1: Sums<V>(*a, image, row, column, a->Weights, sums, pixels, false, false, false); break;
                    case 2: Sums<V>(*a, image, row, column, a->Weights, sums, pixels, true, false, false); break;
                    case 3: Sums<V>(*a, image, row, column, a->Weights, sums, pixels, true, true, false); break;
                    default: Sums<V>(*a, image, row, column, a->Weights, sums, pixels, true, true, true); break;
                }
            }

            for (int j = 0; j < count; j++) places[j] = (long)item * s.OutWidth + column + j;
            TileEpilogue.Store<V>(
                a->Epilogue, sums, 16, count, a->Y, a->LdY, places, s.OutHeight * s.OutWidth, 0, s.Outputs, bias, pads + MicroKernel.MaximumWidth);
        }
    }

    // Four pixels of a row by all outputs; pixels beyond the row read zeros.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Sums<V>(in Arguments a, int image, int row, int column, float* w, float* sums, float** pixels, bool two, bool three, bool four)
        where V : unmanaged, ISimd16<V>
    {
        ref readonly var s = ref a.Shape;
        V zero = V.Create(0f);
        V p0 = zero, p1 = zero, p2 = zero, p3 = zero, q0 = zero, q1 = zero, q2 = zero, q3 = zero;
        V r0 = zero, r1 = zero, r2 = zero, r3 = zero, t0 = zero, t1 = zero, t2 = zero, t3 = zero;
        nint channels = s.Channels, output = channels * s.KernelH * s.KernelW;
        for (int i = 0; i < s.KernelH; i++)
        {
            int y = row - s.PadTop + i;
            for (int j = 0; j < s.KernelW; j++, w += channels)
            {
                for (int k = 0; k < Pixels; k++)
                {
                    int x = column + k - s.PadLeft + j;
                    bool inside = (uint)y < (uint)s.Height && (uint)x < (uint)s.Width && column + k < s.OutWidth;
                    pixels[k] = inside ? a.X + (((long)image * s.Height + y) * s.Width + x) * a.LdX : a.Zeros;
                }

                float* x0 = pixels[0], x1 = pixels[1], x2 = pixels[2], x3 = pixels[3];
                for (nint c = 0; c < channels; c += 16)
                {
                    V v0 = V.Load(x0 + c), v1 = V.Load(x1 + c), v2 = V.Load(x2 + c), v3 = V.Load(x3 + c), f = V.Load(w + c);
                    p0 = V.MultiplyAdd(v0, f, p0);
                    p1 = V.MultiplyAdd(v1, f, p1);
                    p2 = V.MultiplyAdd(v2, f, p2);
                    p3 = V.MultiplyAdd(v3, f, p3);
                    if (!two) continue;
                    f = V.Load(w + output + c);
                    q0 = V.MultiplyAdd(v0, f, q0);
                    q1 = V.MultiplyAdd(v1, f, q1);
                    q2 = V.MultiplyAdd(v2, f, q2);
                    q3 = V.MultiplyAdd(v3, f, q3);
                    if (!three) continue;
                    f = V.Load(w + 2 * output + c);
                    r0 = V.MultiplyAdd(v0, f, r0);
                    r1 = V.MultiplyAdd(v1, f, r1);
                    r2 = V.MultiplyAdd(v2, f, r2);
                    r3 = V.MultiplyAdd(v3, f, r3);
                    if (!four) continue;
                    f = V.Load(w + 3 * output + c);
                    t0 = V.MultiplyAdd(v0, f, t0);
                    t1 = V.MultiplyAdd(v1, f, t1);
                    t2 = V.MultiplyAdd(v2, f, t2);
                    t3 = V.MultiplyAdd(v3, f, t3);
                }
            }
        }

        Reduce(sums, p0, p1, p2, p3);
        if (two) Reduce(sums + 1, q0, q1, q2, q3);
        if (three) Reduce(sums + 2, r0, r1, r2, r3);
        if (four) Reduce(sums + 3, t0, t1, t2, t3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Reduce<V>(float* sums, V a, V b, V c, V d)
        where V : unmanaged, ISimd16<V>
    {
        sums[0] = V.ReduceAdd(a);
        sums[16] = V.ReduceAdd(b);
        sums[32] = V.ReduceAdd(c);
        sums[48] = V.ReduceAdd(d);
    }
}
