// The micro-kernel for fewer rows than a whole tile: the last rows of a product, single vectors, the four tiles of an 8x8 map under Winograd.
// Below 8 rows the panel's loads weigh more: 4 rows still run at the rate of multiply-add, 2 and 1 at that of the loads.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

internal static unsafe partial class MicroKernel
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows4x48(float** rows, Segment* segments, int count, float* b, float* acc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z, c01 = z, c02 = z;
        Vector512<float> c10 = z, c11 = z, c12 = z;
        Vector512<float> c20 = z, c21 = z, c22 = z;
        Vector512<float> c30 = z, c31 = z, c32 = z;
        for (; count > 0; count--, segments++)
        {
            nint offset = segments->Offset, k = segments->Length;
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(b);
                var b1 = Vector512.Load(b + 16);
                var b2 = Vector512.Load(b + 32);
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
                b += 48;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc));
            c01 = Avx512F.Add(c01, Vector512.Load(acc + 16));
            c02 = Avx512F.Add(c02, Vector512.Load(acc + 32));
            c10 = Avx512F.Add(c10, Vector512.Load(acc + 48));
            c11 = Avx512F.Add(c11, Vector512.Load(acc + 64));
            c12 = Avx512F.Add(c12, Vector512.Load(acc + 80));
            c20 = Avx512F.Add(c20, Vector512.Load(acc + 96));
            c21 = Avx512F.Add(c21, Vector512.Load(acc + 112));
            c22 = Avx512F.Add(c22, Vector512.Load(acc + 128));
            c30 = Avx512F.Add(c30, Vector512.Load(acc + 144));
            c31 = Avx512F.Add(c31, Vector512.Load(acc + 160));
            c32 = Avx512F.Add(c32, Vector512.Load(acc + 176));
        }

        c00.Store(acc);
        c01.Store(acc + 16);
        c02.Store(acc + 32);
        c10.Store(acc + 48);
        c11.Store(acc + 64);
        c12.Store(acc + 80);
        c20.Store(acc + 96);
        c21.Store(acc + 112);
        c22.Store(acc + 128);
        c30.Store(acc + 144);
        c31.Store(acc + 160);
        c32.Store(acc + 176);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows2x48(float** rows, Segment* segments, int count, float* b, float* acc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z, c01 = z, c02 = z;
        Vector512<float> c10 = z, c11 = z, c12 = z;
        for (; count > 0; count--, segments++)
        {
            nint offset = segments->Offset, k = segments->Length;
            float* p0 = rows[0] + offset, p1 = rows[1] + offset;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(b);
                var b1 = Vector512.Load(b + 16);
                var b2 = Vector512.Load(b + 32);
                var a0 = Vector512.Create(p0[i]);
                c00 = Avx512F.FusedMultiplyAdd(a0, b0, c00);
                c01 = Avx512F.FusedMultiplyAdd(a0, b1, c01);
                c02 = Avx512F.FusedMultiplyAdd(a0, b2, c02);
                var a1 = Vector512.Create(p1[i]);
                c10 = Avx512F.FusedMultiplyAdd(a1, b0, c10);
                c11 = Avx512F.FusedMultiplyAdd(a1, b1, c11);
                c12 = Avx512F.FusedMultiplyAdd(a1, b2, c12);
                b += 48;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc));
            c01 = Avx512F.Add(c01, Vector512.Load(acc + 16));
            c02 = Avx512F.Add(c02, Vector512.Load(acc + 32));
            c10 = Avx512F.Add(c10, Vector512.Load(acc + 48));
            c11 = Avx512F.Add(c11, Vector512.Load(acc + 64));
            c12 = Avx512F.Add(c12, Vector512.Load(acc + 80));
        }

        c00.Store(acc);
        c01.Store(acc + 16);
        c02.Store(acc + 32);
        c10.Store(acc + 48);
        c11.Store(acc + 64);
        c12.Store(acc + 80);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows1x48(float** rows, Segment* segments, int count, float* b, float* acc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z, c01 = z, c02 = z;
        for (; count > 0; count--, segments++)
        {
            nint offset = segments->Offset, k = segments->Length;
            float* p0 = rows[0] + offset;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(b);
                var b1 = Vector512.Load(b + 16);
                var b2 = Vector512.Load(b + 32);
                var a0 = Vector512.Create(p0[i]);
                c00 = Avx512F.FusedMultiplyAdd(a0, b0, c00);
                c01 = Avx512F.FusedMultiplyAdd(a0, b1, c01);
                c02 = Avx512F.FusedMultiplyAdd(a0, b2, c02);
                b += 48;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc));
            c01 = Avx512F.Add(c01, Vector512.Load(acc + 16));
            c02 = Avx512F.Add(c02, Vector512.Load(acc + 32));
        }

        c00.Store(acc);
        c01.Store(acc + 16);
        c02.Store(acc + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Rows4x16(float** rows, Segment* segments, int count, float* b, float* acc, bool add)
    {
        var z = Vector512<float>.Zero;
        Vector512<float> c00 = z;
        Vector512<float> c10 = z;
        Vector512<float> c20 = z;
        Vector512<float> c30 = z;
        for (; count > 0; count--, segments++)
        {
            nint offset = segments->Offset, k = segments->Length;
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset;
            for (nint i = 0; i < k; i++)
            {
                var b0 = Vector512.Load(b);
                var a0 = Vector512.Create(p0[i]);
                c00 = Avx512F.FusedMultiplyAdd(a0, b0, c00);
                var a1 = Vector512.Create(p1[i]);
                c10 = Avx512F.FusedMultiplyAdd(a1, b0, c10);
                var a2 = Vector512.Create(p2[i]);
                c20 = Avx512F.FusedMultiplyAdd(a2, b0, c20);
                var a3 = Vector512.Create(p3[i]);
                c30 = Avx512F.FusedMultiplyAdd(a3, b0, c30);
                b += 16;
            }
        }

        if (add)
        {
            c00 = Avx512F.Add(c00, Vector512.Load(acc));
            c10 = Avx512F.Add(c10, Vector512.Load(acc + 16));
            c20 = Avx512F.Add(c20, Vector512.Load(acc + 32));
            c30 = Avx512F.Add(c30, Vector512.Load(acc + 48));
        }

        c00.Store(acc);
        c10.Store(acc + 16);
        c20.Store(acc + 32);
        c30.Store(acc + 48);
    }
}
