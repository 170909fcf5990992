// The matrix micro-kernels: a few rows times a panel of columns, accumulators in registers.
//
//   acc[r, j] (+)= sum over taps t, sum over i < k of rows[r][tapOffsets[t] + i] * b[t*tapStride + i*width + j]
//
// One kernel serves matrix products (one tap), convolutions (a tap per kernel position, rows are pixels of a zero-bordered map) and both products
// of attention. Rows are pointers, so a tile may gather any pixels; short tiles repeat a row and drop the result.
//
// AVX-512  8 rows x 48 columns, 24 accumulators of 32 registers: 11 loads for 24 multiply-adds.
// AVX2     6 rows x 16 columns, 12 accumulators of 16 registers: 8 loads for 12.
// Numerics one chain of FMA per result, taps outer, k inner, from zero; then one addition where a former block's sum is continued. The chain is
//          the same on every path, so the bytes are.
// Lost     accumulators in a stack array: 26 GF/s instead of 115; c += a*b without the explicit intrinsic: 87 (not contracted).
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

internal static unsafe class MicroKernel
{
    /// <summary>Most rows of a tile on any path; row tables are padded by it.</summary>
    public const int MaximumRows = 8;

    /// <summary>Rows of a tile on the active path.</summary>
    public static int Rows => HostIsa.Active == Isa.Avx512 ? 8 : HostIsa.Active == Isa.Avx2 ? 6 : 1;

    /// <summary>Columns of a full panel on the active path.</summary>
    public static int PanelWidth => WidthOf(HostIsa.Active);

    public static int WidthOf(Isa isa) => isa == Isa.Avx512 ? 48 : 16;

    /// <summary>
    /// One tile. <paramref name="width"/> is 16, 32 or 48 and is also the distance of consecutive k in b; acc has rows of <paramref name="ldacc"/> floats.
    /// </summary>
    public static void Run(int width, float** rows, nint* tapOffsets, int taps, nint k, float* b, nint tapStride, float* acc, nint ldacc, bool add)
    {
        switch (HostIsa.Active)
        {
            case Isa.Avx512 when width == 48: Avx512Rows8x48(rows, tapOffsets, taps, k, b, tapStride, acc, ldacc, add); break;
            case Isa.Avx512 when width == 32: Avx512Rows8x32(rows, tapOffsets, taps, k, b, tapStride, acc, ldacc, add); break;
            case Isa.Avx512: Avx512Rows8x16(rows, tapOffsets, taps, k, b, tapStride, acc, ldacc, add); break;
            case Isa.Avx2: Avx2Rows6x16(rows, tapOffsets, taps, k, b, tapStride, acc, ldacc, add); break;
            default: ScalarRow(rows, tapOffsets, taps, k, b, tapStride, acc, add); break;
        }
    }

    private static void ScalarRow(float** rows, nint* tapOffsets, int taps, nint k, float* b, nint tapStride, float* acc, bool add)
    {
        float* sums = stackalloc float[16];
        new Span<float>(sums, 16).Clear();
        for (int t = 0; t < taps; t++)
        {
            float* p = rows[0] + tapOffsets[t];
            float* w = b + t * tapStride;
            for (nint i = 0; i < k; i++, w += 16)
                for (int j = 0; j < 16; j++) sums[j] = MathF.FusedMultiplyAdd(p[i], w[j], sums[j]);
        }

        for (int j = 0; j < 16; j++) acc[j] = add ? sums[j] + acc[j] : sums[j];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows8x48(float** rows, nint* tapOffsets, int taps, nint k, float* b, nint tapStride, float* acc, nint ldacc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z, c01 = z, c02 = z;
        Vector512<float> c10 = z, c11 = z, c12 = z;
        Vector512<float> c20 = z, c21 = z, c22 = z;
        Vector512<float> c30 = z, c31 = z, c32 = z;
        Vector512<float> c40 = z, c41 = z, c42 = z;
        Vector512<float> c50 = z, c51 = z, c52 = z;
        Vector512<float> c60 = z, c61 = z, c62 = z;
        Vector512<float> c70 = z, c71 = z, c72 = z;
        for (int t = 0; t < taps; t++)
        {
            nint offset = tapOffsets[t];
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset;
            float* p4 = rows[4] + offset, p5 = rows[5] + offset, p6 = rows[6] + offset, p7 = rows[7] + offset;
            float* w = b + t * tapStride;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(w);
                var b1 = Vector512.Load(w + 16);
                var b2 = Vector512.Load(w + 32);
                var a0 = Vector512.Create(p0[i]);
                c00 = Avx512F.FusedMultiplyAdd(a0, b0, c00);
                c01 = Avx512F.FusedMultiplyAdd(a0, b1, c01);
                c02 = Avx512F.FusedMultiplyAdd(a0, b2, c02);
                var a1 = Vector512.Create(p1[i]);
                c10 = Avx512F.FusedMultiplyAdd(a1, b0, c10);
                c11 = Avx512F.FusedMultiplyAdd(a1, b1, c11);
                c12 = Avx512F.FusedMultiplyAdd(a1, b2, c12);
                var a2 = Vector512.Create(p2[i]);
                c20 = Avx512F.FusedMultiplyAdd(a2, b0, c20);
                c21 = Avx512F.FusedMultiplyAdd(a2, b1, c21);
                c22 = Avx512F.FusedMultiplyAdd(a2, b2, c22);
                var a3 = Vector512.Create(p3[i]);
                c30 = Avx512F.FusedMultiplyAdd(a3, b0, c30);
                c31 = Avx512F.FusedMultiplyAdd(a3, b1, c31);
                c32 = Avx512F.FusedMultiplyAdd(a3, b2, c32);
                var a4 = Vector512.Create(p4[i]);
                c40 = Avx512F.FusedMultiplyAdd(a4, b0, c40);
                c41 = Avx512F.FusedMultiplyAdd(a4, b1, c41);
                c42 = Avx512F.FusedMultiplyAdd(a4, b2, c42);
                var a5 = Vector512.Create(p5[i]);
                c50 = Avx512F.FusedMultiplyAdd(a5, b0, c50);
                c51 = Avx512F.FusedMultiplyAdd(a5, b1, c51);
                c52 = Avx512F.FusedMultiplyAdd(a5, b2, c52);
                var a6 = Vector512.Create(p6[i]);
                c60 = Avx512F.FusedMultiplyAdd(a6, b0, c60);
                c61 = Avx512F.FusedMultiplyAdd(a6, b1, c61);
                c62 = Avx512F.FusedMultiplyAdd(a6, b2, c62);
                var a7 = Vector512.Create(p7[i]);
                c70 = Avx512F.FusedMultiplyAdd(a7, b0, c70);
                c71 = Avx512F.FusedMultiplyAdd(a7, b1, c71);
                c72 = Avx512F.FusedMultiplyAdd(a7, b2, c72);
                w += 48;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc + 0 * ldacc));
            c01 = Avx512F.Add(c01, Vector512.Load(acc + 0 * ldacc + 16));
            c02 = Avx512F.Add(c02, Vector512.Load(acc + 0 * ldacc + 32));
            c10 = Avx512F.Add(c10, Vector512.Load(acc + 1 * ldacc));
            c11 = Avx512F.Add(c11, Vector512.Load(acc + 1 * ldacc + 16));
            c12 = Avx512F.Add(c12, Vector512.Load(acc + 1 * ldacc + 32));
            c20 = Avx512F.Add(c20, Vector512.Load(acc + 2 * ldacc));
            c21 = Avx512F.Add(c21, Vector512.Load(acc + 2 * ldacc + 16));
            c22 = Avx512F.Add(c22, Vector512.Load(acc + 2 * ldacc + 32));
            c30 = Avx512F.Add(c30, Vector512.Load(acc + 3 * ldacc));
            c31 = Avx512F.Add(c31, Vector512.Load(acc + 3 * ldacc + 16));
            c32 = Avx512F.Add(c32, Vector512.Load(acc + 3 * ldacc + 32));
            c40 = Avx512F.Add(c40, Vector512.Load(acc + 4 * ldacc));
            c41 = Avx512F.Add(c41, Vector512.Load(acc + 4 * ldacc + 16));
            c42 = Avx512F.Add(c42, Vector512.Load(acc + 4 * ldacc + 32));
            c50 = Avx512F.Add(c50, Vector512.Load(acc + 5 * ldacc));
            c51 = Avx512F.Add(c51, Vector512.Load(acc + 5 * ldacc + 16));
            c52 = Avx512F.Add(c52, Vector512.Load(acc + 5 * ldacc + 32));
            c60 = Avx512F.Add(c60, Vector512.Load(acc + 6 * ldacc));
            c61 = Avx512F.Add(c61, Vector512.Load(acc + 6 * ldacc + 16));
            c62 = Avx512F.Add(c62, Vector512.Load(acc + 6 * ldacc + 32));
            c70 = Avx512F.Add(c70, Vector512.Load(acc + 7 * ldacc));
            c71 = Avx512F.Add(c71, Vector512.Load(acc + 7 * ldacc + 16));
            c72 = Avx512F.Add(c72, Vector512.Load(acc + 7 * ldacc + 32));
        }

        c00.Store(acc + 0 * ldacc);
        c01.Store(acc + 0 * ldacc + 16);
        c02.Store(acc + 0 * ldacc + 32);
        c10.Store(acc + 1 * ldacc);
        c11.Store(acc + 1 * ldacc + 16);
        c12.Store(acc + 1 * ldacc + 32);
        c20.Store(acc + 2 * ldacc);
        c21.Store(acc + 2 * ldacc + 16);
        c22.Store(acc + 2 * ldacc + 32);
        c30.Store(acc + 3 * ldacc);
        c31.Store(acc + 3 * ldacc + 16);
        c32.Store(acc + 3 * ldacc + 32);
        c40.Store(acc + 4 * ldacc);
        c41.Store(acc + 4 * ldacc + 16);
        c42.Store(acc + 4 * ldacc + 32);
        c50.Store(acc + 5 * ldacc);
        c51.Store(acc + 5 * ldacc + 16);
        c52.Store(acc + 5 * ldacc + 32);
        c60.Store(acc + 6 * ldacc);
        c61.Store(acc + 6 * ldacc + 16);
        c62.Store(acc + 6 * ldacc + 32);
        c70.Store(acc + 7 * ldacc);
        c71.Store(acc + 7 * ldacc + 16);
        c72.Store(acc + 7 * ldacc + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows8x32(float** rows, nint* tapOffsets, int taps, nint k, float* b, nint tapStride, float* acc, nint ldacc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z, c01 = z;
        Vector512<float> c10 = z, c11 = z;
        Vector512<float> c20 = z, c21 = z;
        Vector512<float> c30 = z, c31 = z;
        Vector512<float> c40 = z, c41 = z;
        Vector512<float> c50 = z, c51 = z;
        Vector512<float> c60 = z, c61 = z;
        Vector512<float> c70 = z, c71 = z;
        for (int t = 0; t < taps; t++)
        {
            nint offset = tapOffsets[t];
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset;
            float* p4 = rows[4] + offset, p5 = rows[5] + offset, p6 = rows[6] + offset, p7 = rows[7] + offset;
            float* w = b + t * tapStride;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(w);
                var b1 = Vector512.Load(w + 16);
                var a0 = Vector512.Create(p0[i]);
                c00 = Avx512F.FusedMultiplyAdd(a0, b0, c00);
                c01 = Avx512F.FusedMultiplyAdd(a0, b1, c01);
                var a1 = Vector512.Create(p1[i]);
                c10 = Avx512F.FusedMultiplyAdd(a1, b0, c10);
                c11 = Avx512F.FusedMultiplyAdd(a1, b1, c11);
                var a2 = Vector512.Create(p2[i]);
                c20 = Avx512F.FusedMultiplyAdd(a2, b0, c20);
                c21 = Avx512F.FusedMultiplyAdd(a2, b1, c21);
                var a3 = Vector512.Create(p3[i]);
                c30 = Avx512F.FusedMultiplyAdd(a3, b0, c30);
                c31 = Avx512F.FusedMultiplyAdd(a3, b1, c31);
                var a4 = Vector512.Create(p4[i]);
                c40 = Avx512F.FusedMultiplyAdd(a4, b0, c40);
                c41 = Avx512F.FusedMultiplyAdd(a4, b1, c41);
                var a5 = Vector512.Create(p5[i]);
                c50 = Avx512F.FusedMultiplyAdd(a5, b0, c50);
                c51 = Avx512F.FusedMultiplyAdd(a5, b1, c51);
                var a6 = Vector512.Create(p6[i]);
                c60 = Avx512F.FusedMultiplyAdd(a6, b0, c60);
                c61 = Avx512F.FusedMultiplyAdd(a6, b1, c61);
                var a7 = Vector512.Create(p7[i]);
                c70 = Avx512F.FusedMultiplyAdd(a7, b0, c70);
                c71 = Avx512F.FusedMultiplyAdd(a7, b1, c71);
                w += 32;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc + 0 * ldacc));
            c01 = Avx512F.Add(c01, Vector512.Load(acc + 0 * ldacc + 16));
            c10 = Avx512F.Add(c10, Vector512.Load(acc + 1 * ldacc));
            c11 = Avx512F.Add(c11, Vector512.Load(acc + 1 * ldacc + 16));
            c20 = Avx512F.Add(c20, Vector512.Load(acc + 2 * ldacc));
            c21 = Avx512F.Add(c21, Vector512.Load(acc + 2 * ldacc + 16));
            c30 = Avx512F.Add(c30, Vector512.Load(acc + 3 * ldacc));
            c31 = Avx512F.Add(c31, Vector512.Load(acc + 3 * ldacc + 16));
            c40 = Avx512F.Add(c40, Vector512.Load(acc + 4 * ldacc));
            c41 = Avx512F.Add(c41, Vector512.Load(acc + 4 * ldacc + 16));
            c50 = Avx512F.Add(c50, Vector512.Load(acc + 5 * ldacc));
            c51 = Avx512F.Add(c51, Vector512.Load(acc + 5 * ldacc + 16));
            c60 = Avx512F.Add(c60, Vector512.Load(acc + 6 * ldacc));
            c61 = Avx512F.Add(c61, Vector512.Load(acc + 6 * ldacc + 16));
            c70 = Avx512F.Add(c70, Vector512.Load(acc + 7 * ldacc));
            c71 = Avx512F.Add(c71, Vector512.Load(acc + 7 * ldacc + 16));
        }

        c00.Store(acc + 0 * ldacc);
        c01.Store(acc + 0 * ldacc + 16);
        c10.Store(acc + 1 * ldacc);
        c11.Store(acc + 1 * ldacc + 16);
        c20.Store(acc + 2 * ldacc);
        c21.Store(acc + 2 * ldacc + 16);
        c30.Store(acc + 3 * ldacc);
        c31.Store(acc + 3 * ldacc + 16);
        c40.Store(acc + 4 * ldacc);
        c41.Store(acc + 4 * ldacc + 16);
        c50.Store(acc + 5 * ldacc);
        c51.Store(acc + 5 * ldacc + 16);
        c60.Store(acc + 6 * ldacc);
        c61.Store(acc + 6 * ldacc + 16);
        c70.Store(acc + 7 * ldacc);
        c71.Store(acc + 7 * ldacc + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows8x16(float** rows, nint* tapOffsets, int taps, nint k, float* b, nint tapStride, float* acc, nint ldacc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z;
        Vector512<float> c10 = z;
        Vector512<float> c20 = z;
        Vector512<float> c30 = z;
        Vector512<float> c40 = z;
        Vector512<float> c50 = z;
        Vector512<float> c60 = z;
        Vector512<float> c70 = z;
        for (int t = 0; t < taps; t++)
        {
            nint offset = tapOffsets[t];
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset;
            float* p4 = rows[4] + offset, p5 = rows[5] + offset, p6 = rows[6] + offset, p7 = rows[7] + offset;
            float* w = b + t * tapStride;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(w);
                var a0 = Vector512.Create(p0[i]);
                c00 = Avx512F.FusedMultiplyAdd(a0, b0, c00);
                var a1 = Vector512.Create(p1[i]);
                c10 = Avx512F.FusedMultiplyAdd(a1, b0, c10);
                var a2 = Vector512.Create(p2[i]);
                c20 = Avx512F.FusedMultiplyAdd(a2, b0, c20);
                var a3 = Vector512.Create(p3[i]);
                c30 = Avx512F.FusedMultiplyAdd(a3, b0, c30);
                var a4 = Vector512.Create(p4[i]);
                c40 = Avx512F.FusedMultiplyAdd(a4, b0, c40);
                var a5 = Vector512.Create(p5[i]);
                c50 = Avx512F.FusedMultiplyAdd(a5, b0, c50);
                var a6 = Vector512.Create(p6[i]);
                c60 = Avx512F.FusedMultiplyAdd(a6, b0, c60);
                var a7 = Vector512.Create(p7[i]);
                c70 = Avx512F.FusedMultiplyAdd(a7, b0, c70);
                w += 16;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc + 0 * ldacc));
            c10 = Avx512F.Add(c10, Vector512.Load(acc + 1 * ldacc));
            c20 = Avx512F.Add(c20, Vector512.Load(acc + 2 * ldacc));
            c30 = Avx512F.Add(c30, Vector512.Load(acc + 3 * ldacc));
            c40 = Avx512F.Add(c40, Vector512.Load(acc + 4 * ldacc));
            c50 = Avx512F.Add(c50, Vector512.Load(acc + 5 * ldacc));
            c60 = Avx512F.Add(c60, Vector512.Load(acc + 6 * ldacc));
            c70 = Avx512F.Add(c70, Vector512.Load(acc + 7 * ldacc));
        }

        c00.Store(acc + 0 * ldacc);
        c10.Store(acc + 1 * ldacc);
        c20.Store(acc + 2 * ldacc);
        c30.Store(acc + 3 * ldacc);
        c40.Store(acc + 4 * ldacc);
        c50.Store(acc + 5 * ldacc);
        c60.Store(acc + 6 * ldacc);
        c70.Store(acc + 7 * ldacc);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx2Rows6x16(float** rows, nint* tapOffsets, int taps, nint k, float* b, nint tapStride, float* acc, nint ldacc, bool add)
    {
        var z = Vector256<float>.Zero;
        Vector256<float> c00 = z, c01 = z;
        Vector256<float> c10 = z, c11 = z;
        Vector256<float> c20 = z, c21 = z;
        Vector256<float> c30 = z, c31 = z;
        Vector256<float> c40 = z, c41 = z;
        Vector256<float> c50 = z, c51 = z;
        for (int t = 0; t < taps; t++)
        {
            nint offset = tapOffsets[t];
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset, p4 = rows[4] + offset, p5 = rows[5] + offset;
            float* w = b + t * tapStride;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector256.Load(w);
                var b1 = Vector256.Load(w + 8);
                var a0 = Vector256.Create(p0[i]);
                c00 = Fma.MultiplyAdd(a0, b0, c00);
                c01 = Fma.MultiplyAdd(a0, b1, c01);
                var a1 = Vector256.Create(p1[i]);
                c10 = Fma.MultiplyAdd(a1, b0, c10);
                c11 = Fma.MultiplyAdd(a1, b1, c11);
                var a2 = Vector256.Create(p2[i]);
                c20 = Fma.MultiplyAdd(a2, b0, c20);
                c21 = Fma.MultiplyAdd(a2, b1, c21);
                var a3 = Vector256.Create(p3[i]);
                c30 = Fma.MultiplyAdd(a3, b0, c30);
                c31 = Fma.MultiplyAdd(a3, b1, c31);
                var a4 = Vector256.Create(p4[i]);
                c40 = Fma.MultiplyAdd(a4, b0, c40);
                c41 = Fma.MultiplyAdd(a4, b1, c41);
                var a5 = Vector256.Create(p5[i]);
                c50 = Fma.MultiplyAdd(a5, b0, c50);
                c51 = Fma.MultiplyAdd(a5, b1, c51);
                w += 16;
            }
        }

        if (add)
        {
            c00 = Avx.Add(c00, Vector256.Load(acc + 0 * ldacc));
            c01 = Avx.Add(c01, Vector256.Load(acc + 0 * ldacc + 8));
            c10 = Avx.Add(c10, Vector256.Load(acc + 1 * ldacc));
            c11 = Avx.Add(c11, Vector256.Load(acc + 1 * ldacc + 8));
            c20 = Avx.Add(c20, Vector256.Load(acc + 2 * ldacc));
            c21 = Avx.Add(c21, Vector256.Load(acc + 2 * ldacc + 8));
            c30 = Avx.Add(c30, Vector256.Load(acc + 3 * ldacc));
            c31 = Avx.Add(c31, Vector256.Load(acc + 3 * ldacc + 8));
            c40 = Avx.Add(c40, Vector256.Load(acc + 4 * ldacc));
            c41 = Avx.Add(c41, Vector256.Load(acc + 4 * ldacc + 8));
            c50 = Avx.Add(c50, Vector256.Load(acc + 5 * ldacc));
            c51 = Avx.Add(c51, Vector256.Load(acc + 5 * ldacc + 8));
        }

        c00.Store(acc + 0 * ldacc);
        c01.Store(acc + 0 * ldacc + 8);
        c10.Store(acc + 1 * ldacc);
        c11.Store(acc + 1 * ldacc + 8);
        c20.Store(acc + 2 * ldacc);
        c21.Store(acc + 2 * ldacc + 8);
        c30.Store(acc + 3 * ldacc);
        c31.Store(acc + 3 * ldacc + 8);
        c40.Store(acc + 4 * ldacc);
        c41.Store(acc + 4 * ldacc + 8);
        c50.Store(acc + 5 * ldacc);
        c51.Store(acc + 5 * ldacc + 8);
    }
}
