// A border around an array: a constant, or elements of the array itself. Moves bits, knows no type.
//
//   reflect  ... c b | a b c d | c b ...      the edge is not repeated; borders shorter than the axis
//   edge     ... a a | a b c d | d d ...
//   wrap     ... c d | a b c d | a b ...
//
// Work split  rows of y, several per item.
// Roofline    2 element sizes moved per element: memory bound where rows are long, as the body of a row is one copy.
namespace DiffusionCore.Kernels.Host;

/// <summary>What stands in a border.</summary>
public enum Border
{
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// <summary>Padding of arrays of rank 1 to 6.</summary>
public static unsafe class PadKernel
{
    private const int MaxRank = 6;
    private const int ChunkElements = 8192;

    /// <param name="shape">Extents of x, all positive, dense.</param>
    /// <param name="before">Elements added before each axis, not negative.</param>
    /// <param name="after">Elements added behind each axis, not negative.</param>
    /// <param name="size">Bytes of an element: 1, 2, 4 or 8.</param>
    /// <param name="fill">The constant's bits, in the low bytes.</param>
    public static void Run(
        WorkerPool pool, Border border, ReadOnlySpan<long> shape, ReadOnlySpan<long> before, ReadOnlySpan<long> after, int size, ulong fill, byte* x, byte* y)
    {
        ArgumentOutOfRangeException.ThrowIfZero(shape.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(shape.Length, MaxRank);
        var s = new Arguments { Border = border, Rank = shape.Length, Size = size, Fill = fill, X = x, Y = y, Rows = 1 };
        for (int a = 0; a < shape.Length; a++)
        {
            s.Shape[a] = shape[a];
            s.Before[a] = before[a];
            s.Padded[a] = before[a] + shape[a] + after[a];
            if (a < shape.Length - 1) s.Rows *= s.Padded[a];
        }

        s.RowsPerItem = Math.Max(1, ChunkElements / s.Padded[s.Rank - 1]);
        pool.For(checked((int)((s.Rows + s.RowsPerItem - 1) / s.RowsPerItem)), &Item, &s);
    }

    private struct Arguments
    {
        public fixed long Shape[MaxRank];
        public fixed long Before[MaxRank];
        public fixed long Padded[MaxRank];
        public Border Border;
        public int Rank, Size;
        public ulong Fill;
        public byte* X, Y;
        public long Rows, RowsPerItem;
    }

    private static void Item(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        switch (s->Size)
        {
            case 1: Rows<byte>(s, item, (byte)s->Fill); break;
            case 2: Rows<ushort>(s, item, (ushort)s->Fill); break;
            case 4: Rows<uint>(s, item, (uint)s->Fill); break;
            default: Rows<ulong>(s, item, s->Fill); break;
        }
    }

    private static void Rows<T>(Arguments* s, int item, T fill)
        where T : unmanaged
    {
        int last = s->Rank - 1;
        long width = s->Padded[last], body = s->Shape[last], left = s->Before[last];
        long end = Math.Min(s->Rows, (item + 1) * s->RowsPerItem);
        for (long row = item * s->RowsPerItem; row < end; row++)
        {
            T* y = (T*)s->Y + row * width;
            long source = 0, stride = 1, rest = row;
            bool outside = false;
            for (int a = last - 1; a >= 0; a--)
            {
                long at = Map(s->Border, rest % s->Padded[a] - s->Before[a], s->Shape[a]);
                outside |= at < 0;
                source += at * stride;
                stride *= s->Shape[a];
                rest /= s->Padded[a];
            }

            if (outside)
            {
                new Span<T>(y, (int)width).Fill(fill);
                continue;
            }

            T* x = (T*)s->X + source * body;
            Buffer.MemoryCopy(x, y + left, body * sizeof(T), body * sizeof(T));
            for (long i = 0; i < left; i++) y[i] = Pick(s->Border, i - left, body, x, fill);
            for (long i = left + body; i < width; i++) y[i] = Pick(s->Border, i - left, body, x, fill);
        }
    }

    private static T Pick<T>(Border border, long at, long extent, T* x, T fill)
        where T : unmanaged
    {
        long from = Map(border, at, extent);
        return from < 0 ? fill : x[from];
    }

    // Where an element of the border comes from; -1 for the constant.
    private static long Map(Border border, long at, long extent)
    {
        if (at >= 0 && at < extent) return at;
        switch (border)
        {
            case Border.Constant: return -1;
            case Border.Edge: return at < 0 ? 0 : extent - 1;
            case Border.Wrap: return (at % extent + extent) % extent;
            default:
                if (extent == 1) return 0;
                long period = 2 * (extent - 1), r = (at % period + period) % period;
                return r < extent ? r : period - r;
        }
    }
}
