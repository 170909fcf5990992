// The matrix micro-kernels: a few rows times a panel of columns, accumulators in registers.
//
//   acc[r, j] (+)= sum over segments s, sum over i < s.Length of rows[r][s.Offset + i] * b[.. + j],  b moving on by one panel width per term
//
// One kernel serves matrix products (one segment), convolutions (a segment per kernel row, rows are pixels of a zero-bordered map) and both
// products of attention. Rows are pointers, so a tile may gather any pixels; short tiles repeat a row and drop the result.
//
// AVX-512  8 rows x 48 columns, 24 accumulators of 32 registers: 11 loads for 24 multiply-adds.
// AVX2     6 rows x 16 columns, 12 accumulators of 16 registers: 8 loads for 12.
// Numerics one chain of FMA per result from zero, in the order of the segments; then one addition where a former block's sum is continued.
//          The chain is the same on every path, so the bytes are.
// Ahead    the widest form also fetches, a line with each term, what the caller will need next: its loads are few. All at once before the tile costs more than
//          it saves: 24 misses fill the core's buffers, and the terms wait behind them (128x320x320 in cache 95 to 89 % of the peak; spread 95 %).
// Lost     accumulators in a stack array: 26 GF/s instead of 115; c += a*b without the explicit intrinsic: 87 (not contracted).
namespace DiffusionCore.Kernels.Host;

/// <summary>Consecutive terms of a sum: floats [Offset, Offset + Length) from each row's pointer.</summary>
internal struct Segment
{
    public nint Offset;
    public nint Length;
}

/// <summary>Memory that is wanted soon: with each term the line at From + i*Step is fetched into the L2.</summary>
internal unsafe struct Ahead
{
    public byte* From;
    public nint Step;
}

internal static unsafe partial class MicroKernel
{
    /// <summary>Most rows of a tile on any path; row tables are padded by it.</summary>
    public const int MaximumRows = 8;

    /// <summary>Columns of the widest panel on any path.</summary>
    public const int MaximumWidth = 48;

    /// <summary>Rows of a tile.</summary>
    public static int RowsOf(Isa isa) => isa == Isa.Avx512 ? 8 : isa == Isa.Avx2 ? 6 : 1;

    /// <summary>Columns of a full panel.</summary>
    public static int WidthOf(Isa isa) => isa == Isa.Avx512 ? 48 : 16;

    /// <summary>
    /// One tile. <paramref name="width"/> is 16, 32 or 48 (16 but for AVX-512): the distance of consecutive terms in b and of consecutive rows in acc.
    /// </summary>
    public static void Run(Isa isa, int width, float** rows, Segment* segments, int count, float* b, float* acc, bool add, Ahead ahead = default)
    {
        switch (isa)
        {
            case Isa.Avx512 when width == 48: Avx512Tiles<Rows8x48>(rows, 1, segments, count, b, acc, add, ahead); break;
            case Isa.Avx512 when width == 32: Avx512Tiles<Rows8x32>(rows, 1, segments, count, b, acc, add); break;
            case Isa.Avx512: Avx512Tiles<Rows8x16>(rows, 1, segments, count, b, acc, add); break;
            case Isa.Avx2: Avx2Tiles<Rows6x16>(rows, 1, segments, count, b, acc, add); break;
            default: ScalarRow(rows, segments, count, b, acc, add); break;
        }
    }

    /// <summary>The same tile where only the first <paramref name="valid"/> rows count: the shortest form that holds them, fewer results written.</summary>
    /// <param name="ahead">Fetched by full tiles of 48 columns.</param>
    public static void Run(Isa isa, int width, float** rows, int valid, Segment* segments, int count, float* b, float* acc, bool add, Ahead ahead = default)
    {
        if (isa == Isa.Avx512 && valid <= 4)
        {
            if (width == 48)
            {
                if (valid == 1) Avx512Tiles<Rows1x48>(rows, 1, segments, count, b, acc, add);
                else if (valid == 2) Avx512Tiles<Rows2x48>(rows, 1, segments, count, b, acc, add);
                else Avx512Tiles<Rows4x48>(rows, 1, segments, count, b, acc, add);
                return;
            }

            if (width == 16)
            {
                Avx512Tiles<Rows4x16>(rows, 1, segments, count, b, acc, add);
                return;
            }
        }

        Run(isa, width, rows, segments, count, b, acc, add, ahead);
    }

    /// <summary>acc[r] (+)= rows[r][offset .. offset + terms) * b for count rows at one distance. The table of rows is padded by a tile.</summary>
    public static void RunTiles(Isa isa, int width, float** rows, int count, nint offset, nint terms, float* b, float* acc, bool add)
    {
        int tile = RowsOf(isa), whole = 0;
        var segment = new Segment { Offset = offset, Length = terms };
        if (isa == Isa.Avx512 && width == 48) Avx512Tiles<Run8x48>(rows, whole = count / tile, &segment, 1, b, acc, add);
        else if (isa == Isa.Avx2) Avx2Tiles<Run6x16>(rows, whole = count / tile, &segment, 1, b, acc, add);
        for (int r = whole * tile; r < count; r += tile) Run(isa, width, rows + r, count - r, &segment, 1, b, acc + (long)r * width, add);
    }

    private static void ScalarRow(float** rows, Segment* segments, int count, float* b, float* acc, bool add)
    {
        float* sums = stackalloc float[16];
        new Span<float>(sums, 16).Clear();
        for (int s = 0; s < count; s++)
        {
            float* p = rows[0] + segments[s].Offset;
            for (nint i = 0, k = segments[s].Length; i < k; i++, b += 16)
                for (int j = 0; j < 16; j++) sums[j] = MathF.FusedMultiplyAdd(p[i], b[j], sums[j]);
        }

        for (int j = 0; j < 16; j++) acc[j] = add ? sums[j] + acc[j] : sums[j];
    }
}
