// The vector forms of the micro-kernel: one body for each instruction set, of which a form's number of rows and of vectors in a row leaves what it needs.
// Accumulators are named because the compiler keeps only named locals in registers. Every form within 1 % of one written out (AVX-512 and AVX2, in L1, in
// turns, 2026-11-24).
// Lost     one body for both over ISimd16: a move for every row and term (results of the structs' operators pass through a temporary), 2 % slower on AVX2.
//
// Short    fewer rows than a whole tile: the last rows of a product, single vectors, the four tiles of an 8x8 map under Winograd. Below 8 rows the panel's loads
//          weigh more: 4 rows still run at the rate of multiply-add, 2 and 1 at that of the loads.
// Runs     tiles whose sums are short, one loop for all of them. A call for each tile costs 70 to 90 cycles beside its sums: with 32 terms 90 % of the peak, 92 %
//          with 40. In one loop 97 to 98 % (Zen 4, AVX-512, data in L1, one core by CPU time, 2026-11-24): the last stores of a tile go on under the next one's sums.
//          The next tile's rows are fetched meanwhile, from its first row on as far as their distance goes, at most a line a term: a miss stalls the sums at once,
//          for the core's window holds eight terms. (S of attention with keys from L3: 1.7 cycles a vector FMA without, 1.1 with keys in L1.) Instead a line of
//          every row each sixteen terms: the same within 1 %, but 3 % slower on one head of 512.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

internal static unsafe partial class MicroKernel
{
    private enum Fetch
    {
        None,

        /// <summary>What the caller says, into the L2.</summary>
        Ahead,

        /// <summary>The next tile's rows, into the L1.</summary>
        NextRows,
    }

    /// <summary>A tile's rows and vectors of 16 columns, and what is fetched meanwhile: 1, 2, 4 or 8 rows of 1 to 3 on AVX-512, 6 rows of one (a pair there) on AVX2.</summary>
    private interface IForm
    {
        static abstract int Rows { get; }

        static abstract int Vectors { get; }

        static virtual Fetch Fetches => Fetch.None;
    }

    private readonly struct Rows8x48 : IForm
    {
        public static int Rows => 8;

        public static int Vectors => 3;

        public static Fetch Fetches => Fetch.Ahead;
    }

    private readonly struct Run8x48 : IForm
    {
        public static int Rows => 8;

        public static int Vectors => 3;

        public static Fetch Fetches => Fetch.NextRows;
    }

    private readonly struct Rows8x32 : IForm
    {
        public static int Rows => 8;

        public static int Vectors => 2;
    }

    private readonly struct Rows8x16 : IForm
    {
        public static int Rows => 8;

        public static int Vectors => 1;
    }

    private readonly struct Rows6x16 : IForm
    {
        public static int Rows => 6;

        public static int Vectors => 1;
    }

    private readonly struct Run6x16 : IForm
    {
        public static int Rows => 6;

        public static int Vectors => 1;

        public static Fetch Fetches => Fetch.NextRows;
    }

    private readonly struct Rows4x48 : IForm
    {
        public static int Rows => 4;

        public static int Vectors => 3;
    }

    private readonly struct Rows4x16 : IForm
    {
        public static int Rows => 4;

        public static int Vectors => 1;
    }

    private readonly struct Rows2x48 : IForm
    {
        public static int Rows => 2;

        public static int Vectors => 3;
    }

    private readonly struct Rows1x48 : IForm
    {
        public static int Rows => 1;

        public static int Vectors => 3;
    }

    /// <param name="count">At least 1; 1 for forms that fetch the next rows.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx512Tiles<TForm>(float** rows, int tiles, Segment* segments, int count, float* columns, float* acc, bool add, Ahead ahead = default)
        where TForm : struct, IForm
    {
        nint pitch = TForm.Vectors * 16;
        for (; tiles > 0; tiles--, rows += TForm.Rows, acc += TForm.Rows * pitch)
        {
            float* b = columns;
            var segment = segments;
            byte* fetch = ahead.From == null ? (byte*)b : ahead.From;      // a page that is not mapped would be looked up every time
            nint fetchStep = ahead.Step;
            if (TForm.Fetches == Fetch.NextRows)
            {
                fetch = (byte*)(rows[TForm.Rows] + segment->Offset);
                fetchStep = StepToNext(rows, TForm.Rows, segment);
            }

            var z = Vector512<float>.Zero;
            Vector512<float> c00 = z, c01 = z, c02 = z;
            Vector512<float> c10 = z, c11 = z, c12 = z;
            Vector512<float> c20 = z, c21 = z, c22 = z;
            Vector512<float> c30 = z, c31 = z, c32 = z;
            Vector512<float> c40 = z, c41 = z, c42 = z;
            Vector512<float> c50 = z, c51 = z, c52 = z;
            Vector512<float> c60 = z, c61 = z, c62 = z;
            Vector512<float> c70 = z, c71 = z, c72 = z;
            do
            {
                nint offset = segment->Offset, k = segment->Length;
                float* p0 = rows[0] + offset, p1 = null, p2 = null, p3 = null, p4 = null, p5 = null, p6 = null, p7 = null;
                if (TForm.Rows > 1) p1 = rows[1] + offset;
                if (TForm.Rows > 2) p2 = rows[2] + offset;
                if (TForm.Rows > 2) p3 = rows[3] + offset;
                if (TForm.Rows > 4) p4 = rows[4] + offset;
                if (TForm.Rows > 4) p5 = rows[5] + offset;
                if (TForm.Rows > 6) p6 = rows[6] + offset;
                if (TForm.Rows > 6) p7 = rows[7] + offset;
                for (nint i = 0; i < k; i++)
                {
                    if (TForm.Fetches == Fetch.Ahead) Sse.Prefetch1(fetch);
                    if (TForm.Fetches == Fetch.NextRows) Sse.Prefetch0(fetch);
                    if (TForm.Fetches != Fetch.None) fetch += fetchStep;
                    Vector512<float> b0 = Vector512.Load(b), b1 = b0, b2 = b0;
                    if (TForm.Vectors > 1) b1 = Vector512.Load(b + 16);
                    if (TForm.Vectors > 2) b2 = Vector512.Load(b + 32);
                    MultiplyRow<TForm>(p0[i], b0, b1, b2, ref c00, ref c01, ref c02);
                    if (TForm.Rows > 1) MultiplyRow<TForm>(p1[i], b0, b1, b2, ref c10, ref c11, ref c12);
                    if (TForm.Rows > 2) MultiplyRow<TForm>(p2[i], b0, b1, b2, ref c20, ref c21, ref c22);
                    if (TForm.Rows > 2) MultiplyRow<TForm>(p3[i], b0, b1, b2, ref c30, ref c31, ref c32);
                    if (TForm.Rows > 4) MultiplyRow<TForm>(p4[i], b0, b1, b2, ref c40, ref c41, ref c42);
                    if (TForm.Rows > 4) MultiplyRow<TForm>(p5[i], b0, b1, b2, ref c50, ref c51, ref c52);
                    if (TForm.Rows > 6) MultiplyRow<TForm>(p6[i], b0, b1, b2, ref c60, ref c61, ref c62);
                    if (TForm.Rows > 6) MultiplyRow<TForm>(p7[i], b0, b1, b2, ref c70, ref c71, ref c72);
                    b += pitch;
                }
            }
            while (TForm.Fetches != Fetch.NextRows && ++segment < segments + count);

            if (add)
            {
                AddRow<TForm>(acc, ref c00, ref c01, ref c02);
                if (TForm.Rows > 1) AddRow<TForm>(acc + pitch, ref c10, ref c11, ref c12);
                if (TForm.Rows > 2) AddRow<TForm>(acc + 2 * pitch, ref c20, ref c21, ref c22);
                if (TForm.Rows > 2) AddRow<TForm>(acc + 3 * pitch, ref c30, ref c31, ref c32);
                if (TForm.Rows > 4) AddRow<TForm>(acc + 4 * pitch, ref c40, ref c41, ref c42);
                if (TForm.Rows > 4) AddRow<TForm>(acc + 5 * pitch, ref c50, ref c51, ref c52);
                if (TForm.Rows > 6) AddRow<TForm>(acc + 6 * pitch, ref c60, ref c61, ref c62);
                if (TForm.Rows > 6) AddRow<TForm>(acc + 7 * pitch, ref c70, ref c71, ref c72);
            }

            StoreRow<TForm>(acc, c00, c01, c02);
            if (TForm.Rows > 1) StoreRow<TForm>(acc + pitch, c10, c11, c12);
            if (TForm.Rows > 2) StoreRow<TForm>(acc + 2 * pitch, c20, c21, c22);
            if (TForm.Rows > 2) StoreRow<TForm>(acc + 3 * pitch, c30, c31, c32);
            if (TForm.Rows > 4) StoreRow<TForm>(acc + 4 * pitch, c40, c41, c42);
            if (TForm.Rows > 4) StoreRow<TForm>(acc + 5 * pitch, c50, c51, c52);
            if (TForm.Rows > 6) StoreRow<TForm>(acc + 6 * pitch, c60, c61, c62);
            if (TForm.Rows > 6) StoreRow<TForm>(acc + 7 * pitch, c70, c71, c72);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyRow<TForm>(float value, Vector512<float> b0, Vector512<float> b1, Vector512<float> b2, ref Vector512<float> c0, ref Vector512<float> c1, ref Vector512<float> c2)
        where TForm : struct, IForm
    {
        var a = Vector512.Create(value);
        c0 = Avx512F.FusedMultiplyAdd(a, b0, c0);
        if (TForm.Vectors > 1) c1 = Avx512F.FusedMultiplyAdd(a, b1, c1);
        if (TForm.Vectors > 2) c2 = Avx512F.FusedMultiplyAdd(a, b2, c2);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddRow<TForm>(float* acc, ref Vector512<float> c0, ref Vector512<float> c1, ref Vector512<float> c2)
        where TForm : struct, IForm
    {
        c0 = Avx512F.Add(c0, Vector512.Load(acc));
        if (TForm.Vectors > 1) c1 = Avx512F.Add(c1, Vector512.Load(acc + 16));
        if (TForm.Vectors > 2) c2 = Avx512F.Add(c2, Vector512.Load(acc + 32));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<TForm>(float* acc, Vector512<float> c0, Vector512<float> c1, Vector512<float> c2)
        where TForm : struct, IForm
    {
        c0.Store(acc);
        if (TForm.Vectors > 1) c1.Store(acc + 16);
        if (TForm.Vectors > 2) c2.Store(acc + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Avx2Tiles<TForm>(float** rows, int tiles, Segment* segments, int count, float* columns, float* acc, bool add)
        where TForm : struct, IForm
    {
        const nint pitch = 16;
        for (; tiles > 0; tiles--, rows += TForm.Rows, acc += TForm.Rows * pitch)
        {
            float* b = columns;
            var segment = segments;
            byte* fetch = (byte*)b;
            nint fetchStep = 0;
            if (TForm.Fetches == Fetch.NextRows)
            {
                fetch = (byte*)(rows[TForm.Rows] + segment->Offset);
                fetchStep = StepToNext(rows, TForm.Rows, segment);
            }

            var z = Vector256<float>.Zero;
            Vector256<float> c00 = z, c01 = z;
            Vector256<float> c10 = z, c11 = z;
            Vector256<float> c20 = z, c21 = z;
            Vector256<float> c30 = z, c31 = z;
            Vector256<float> c40 = z, c41 = z;
            Vector256<float> c50 = z, c51 = z;
            do
            {
                nint offset = segment->Offset, k = segment->Length;
                float* p0 = rows[0] + offset, p1 = rows[1] + offset, p2 = rows[2] + offset, p3 = rows[3] + offset, p4 = rows[4] + offset, p5 = rows[5] + offset;
                for (nint i = 0; i < k; i++)
                {
                    if (TForm.Fetches == Fetch.NextRows) Sse.Prefetch0(fetch);
                    if (TForm.Fetches != Fetch.None) fetch += fetchStep;
                    Vector256<float> b0 = Vector256.Load(b), b1 = Vector256.Load(b + 8);
                    MultiplyRow(p0[i], b0, b1, ref c00, ref c01);
                    MultiplyRow(p1[i], b0, b1, ref c10, ref c11);
                    MultiplyRow(p2[i], b0, b1, ref c20, ref c21);
                    MultiplyRow(p3[i], b0, b1, ref c30, ref c31);
                    MultiplyRow(p4[i], b0, b1, ref c40, ref c41);
                    MultiplyRow(p5[i], b0, b1, ref c50, ref c51);
                    b += pitch;
                }
            }
            while (TForm.Fetches != Fetch.NextRows && ++segment < segments + count);

            if (add)
            {
                AddRow(acc, ref c00, ref c01);
                AddRow(acc + pitch, ref c10, ref c11);
                AddRow(acc + 2 * pitch, ref c20, ref c21);
                AddRow(acc + 3 * pitch, ref c30, ref c31);
                AddRow(acc + 4 * pitch, ref c40, ref c41);
                AddRow(acc + 5 * pitch, ref c50, ref c51);
            }

            StoreRow(acc, c00, c01);
            StoreRow(acc + pitch, c10, c11);
            StoreRow(acc + 2 * pitch, c20, c21);
            StoreRow(acc + 3 * pitch, c30, c31);
            StoreRow(acc + 4 * pitch, c40, c41);
            StoreRow(acc + 5 * pitch, c50, c51);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyRow(float value, Vector256<float> b0, Vector256<float> b1, ref Vector256<float> c0, ref Vector256<float> c1)
    {
        var a = Vector256.Create(value);
        c0 = Fma.MultiplyAdd(a, b0, c0);
        c1 = Fma.MultiplyAdd(a, b1, c1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddRow(float* acc, ref Vector256<float> c0, ref Vector256<float> c1)
    {
        c0 = Avx.Add(c0, Vector256.Load(acc));
        c1 = Avx.Add(c1, Vector256.Load(acc + 8));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(float* acc, Vector256<float> c0, Vector256<float> c1)
    {
        c0.Store(acc);
        c1.Store(acc + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static nint StepToNext(float** rows, int tile, Segment* segment) => Math.Min(64, ((nint)(rows[tile] - rows[0]) * sizeof(float) + segment->Length - 1) / segment->Length);
}
