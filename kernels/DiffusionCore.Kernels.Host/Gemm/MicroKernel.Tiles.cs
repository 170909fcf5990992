// The micro-kernel over a run of tiles whose sums are short, one loop for all of them.
//
// A call for each tile costs 70 to 90 cycles beside its sums: with 32 terms 90 % of the peak, 92 % with 40. In one loop 97 to 98 % (Zen 4, AVX-512, data in L1,
// one core by CPU time, 2026-11-24): the last stores of a tile go on under the next one's sums.
// The next tile's rows are fetched meanwhile, from its first row on as far as their distance goes, at most a line a term: a miss stalls the sums at once, for
// the core's window holds eight terms. (S of attention with keys from L3: 1.7 cycles a vector FMA without, 1.1 with keys in L1.) Instead a line of every
// row each sixteen terms: the same within 1 %, but 3 % slower on one head of 512.
// Numerics as every form: one chain of FMA per result, then one addition.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

internal static unsafe partial class MicroKernel
{
    /// <summary>acc[r] (+)= rows[r][offset .. offset + terms) * b for count rows at one distance. The table of rows is padded by a tile.</summary>
    public static void RunTiles(Isa isa, int width, float** rows, int count, nint offset, nint terms, float* b, float* acc, bool add)
    {
        int tile = RowsOf(isa), whole = 0;
        if (isa == Isa.Avx512 && width == 48)
        {
            whole = count / 8;
            Avx512Tiles8x48(rows, whole, offset, terms, b, acc, add);
        }
        else if (isa == Isa.Avx2)
        {
            whole = count / 6;
            Avx2Tiles6x16(rows, whole, offset, terms, b, acc, add);
        }

        var segment = new Segment { Offset = offset, Length = terms };
        for (int r = whole * tile; r < count; r += tile) Run(isa, width, rows + r, count - r, &segment, 1, b, acc + (long)r * width, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Tiles8x48(float** rows, int tiles, nint offset, nint terms, float* columns, float* acc, bool add)
    {
        for (; tiles > 0; tiles--, rows += 8, acc += 8 * 48)
        {
            float* b = columns;
            byte* ahead = (byte*)(rows[8] + offset);
            nint step = Math.Min(64, ((nint)(rows[8] - rows[0]) * sizeof(float) + terms - 1) / terms);
            var z = Vector512<float>.Zero;
            Vector512<float> c00 = z, c01 = z, c02 = z;
            Vector512<float> c10 = z, c11 = z, c12 = z;
            Vector512<float> c20 = z, c21 = z, c22 = z;
            Vector512<float> c30 = z, c31 = z, c32 = z;
            Vector512<float> c40 = z, c41 = z, c42 = z;
            Vector512<float> c50 = z, c51 = z, c52 = z;
            Vector512<float> c60 = z, c61 = z, c62 = z;
            Vector512<float> c70 = z, c71 = z, c72 = z;
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset;
            float* p4 = rows[4] + offset, p5 = rows[5] + offset, p6 = rows[6] + offset, p7 = rows[7] + offset;
            for (nint i = 0; i < terms; i++)
            {
                Sse.Prefetch0(ahead);
                ahead += step;
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
                b += 48;
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
                c40 = Avx512F.Add(c40, Vector512.Load(acc + 192));
                c41 = Avx512F.Add(c41, Vector512.Load(acc + 208));
                c42 = Avx512F.Add(c42, Vector512.Load(acc + 224));
                c50 = Avx512F.Add(c50, Vector512.Load(acc + 240));
                c51 = Avx512F.Add(c51, Vector512.Load(acc + 256));
                c52 = Avx512F.Add(c52, Vector512.Load(acc + 272));
                c60 = Avx512F.Add(c60, Vector512.Load(acc + 288));
                c61 = Avx512F.Add(c61, Vector512.Load(acc + 304));
                c62 = Avx512F.Add(c62, Vector512.Load(acc + 320));
                c70 = Avx512F.Add(c70, Vector512.Load(acc + 336));
                c71 = Avx512F.Add(c71, Vector512.Load(acc + 352));
                c72 = Avx512F.Add(c72, Vector512.Load(acc + 368));
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
            c40.Store(acc + 192);
            c41.Store(acc + 208);
            c42.Store(acc + 224);
            c50.Store(acc + 240);
            c51.Store(acc + 256);
            c52.Store(acc + 272);
            c60.Store(acc + 288);
            c61.Store(acc + 304);
            c62.Store(acc + 320);
            c70.Store(acc + 336);
            c71.Store(acc + 352);
            c72.Store(acc + 368);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx2Tiles6x16(float** rows, int tiles, nint offset, nint terms, float* columns, float* acc, bool add)
    {
        for (; tiles > 0; tiles--, rows += 6, acc += 6 * 16)
        {
            float* b = columns;
            byte* ahead = (byte*)(rows[6] + offset);
            nint step = Math.Min(64, ((nint)(rows[6] - rows[0]) * sizeof(float) + terms - 1) / terms);
            var z = Vector256<float>.Zero;
            Vector256<float> c00 = z, c01 = z;
            Vector256<float> c10 = z, c11 = z;
            Vector256<float> c20 = z, c21 = z;
            Vector256<float> c30 = z, c31 = z;
            Vector256<float> c40 = z, c41 = z;
            Vector256<float> c50 = z, c51 = z;
            float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset;
            float* p3 = rows[3] + offset, p4 = rows[4] + offset, p5 = rows[5] + offset;
            for (nint i = 0; i < terms; i++)
            {
                Sse.Prefetch0(ahead);
                ahead += step;
                var b0 = Vector256.Load(b);
                var b1 = Vector256.Load(b + 8);
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
                b += 16;
            }

            if (add)
            {
                c00 = Avx.Add(c00, Vector256.Load(acc));
                c01 = Avx.Add(c01, Vector256.Load(acc + 8));
                c10 = Avx.Add(c10, Vector256.Load(acc + 16));
                c11 = Avx.Add(c11, Vector256.Load(acc + 24));
                c20 = Avx.Add(c20, Vector256.Load(acc + 32));
                c21 = Avx.Add(c21, Vector256.Load(acc + 40));
                c30 = Avx.Add(c30, Vector256.Load(acc + 48));
                c31 = Avx.Add(c31, Vector256.Load(acc + 56));
                c40 = Avx.Add(c40, Vector256.Load(acc + 64));
                c41 = Avx.Add(c41, Vector256.Load(acc + 72));
                c50 = Avx.Add(c50, Vector256.Load(acc + 80));
                c51 = Avx.Add(c51, Vector256.Load(acc + 88));
            }

            c00.Store(acc);
            c01.Store(acc + 8);
            c10.Store(acc + 16);
            c11.Store(acc + 24);
            c20.Store(acc + 32);
            c21.Store(acc + 40);
            c30.Store(acc + 48);
            c31.Store(acc + 56);
            c40.Store(acc + 64);
            c41.Store(acc + 72);
            c50.Store(acc + 80);
            c51.Store(acc + 88);
        }
    }
}
