// y[...] = x[...] through strides: permute, slice, broadcast, a part of a concatenation, the body of a padded array. Moves bits, knows no type.
//
// Work split  rows of the merged loop.
// Roofline    2 element sizes moved per element: memory bound where the innermost strides are 1, else bound by the access pattern.
namespace DiffusionCore.Kernels.Host;

/// <summary>Copies of strided arrays.</summary>
public static unsafe class CopyKernel
{
    private const int ChunkElements = 8192;

    /// <param name="loop">Operand 0 is x, operand 1 is y; strides in elements.</param>
    /// <param name="size">Bytes of an element: 1, 2, 4 or 8.</param>
    public static void Run(WorkerPool pool, in StridedLoop loop, int size, byte* x, byte* y)
    {
        var s = new Arguments { Loop = loop, Size = size, X = x, Y = y };
        long rows = loop.Rows;
        s.RowsPerItem = (int)Math.Max(1, Math.Min(rows, ChunkElements / Math.Max(1, loop.RowLength)));
        pool.For(checked((int)((rows + s.RowsPerItem - 1) / s.RowsPerItem)), &Item, &s);
    }

    /// <summary>Every element the same.</summary>
    public static void Fill(WorkerPool pool, float value, float* y, long n)
    {
        var s = new Arguments { Value = value, Y = (byte*)y, Count = n };
        pool.For(checked((int)((n + ChunkElements - 1) / ChunkElements)), &FillItem, &s);
    }

    private struct Arguments
    {
        public StridedLoop Loop;
        public byte* X, Y;
        public int Size, RowsPerItem;
        public float Value;
        public long Count;
    }

    private static void FillItem(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        long first = (long)item * ChunkElements;
        new Span<float>((float*)s->Y + first, (int)Math.Min(ChunkElements, s->Count - first)).Fill(s->Value);
    }

    private static void Item(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        ref readonly var loop = ref s->Loop;
        int last = loop.Rank - 1;
        long sx = loop.Stride(0, last), sy = loop.Stride(1, last), n = loop.RowLength;
        long end = Math.Min(loop.Rows, (item + 1L) * s->RowsPerItem);
        for (long row = (long)item * s->RowsPerItem; row < end; row++)
        {
            byte* x = s->X + loop.Offset(0, row) * s->Size;
            byte* y = s->Y + loop.Offset(1, row) * s->Size;
            if (sx == 1 && sy == 1) Buffer.MemoryCopy(x, y, n * s->Size, n * s->Size);
            else if (s->Size == 4) Each((uint*)x, sx, (uint*)y, sy, n);
            else if (s->Size == 2) Each((ushort*)x, sx, (ushort*)y, sy, n);
            else if (s->Size == 8) Each((ulong*)x, sx, (ulong*)y, sy, n);
            else Each(x, sx, y, sy, n);
        }
    }

    private static void Each<T>(T* x, long sx, T* y, long sy, long n)
        where T : unmanaged
    {
        for (long i = 0; i < n; i++) y[i * sy] = x[i * sx];
    }
}
