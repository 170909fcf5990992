// y = f(a, b) with numpy broadcasting through strides.
//
// Work split  rows of the merged loop, or chunks of the row where there is only one.
// Roofline    12 bytes moved per element: memory bound.
namespace DiffusionCore.Kernels.Host;

/// <summary>Element-wise functions of two arrays.</summary>
public static unsafe class BinaryKernel
{
    private const int ChunkElements = 8192;

    /// <param name="loop">Operands 0 and 1 are a and b, operand 2 is y, whose innermost stride must be 1.</param>
    public static void Run(WorkerPool pool, Binary function, in StridedLoop loop, float* a, float* b, float* y)
    {
        var s = new Arguments { Loop = loop, Function = function, A = a, B = b, Y = y };
        long rows = loop.Rows, length = loop.RowLength;
        s.Pieces = (int)Math.Max(1, (length + ChunkElements - 1) / ChunkElements);
        s.RowsPerItem = s.Pieces > 1 ? 1 : (int)Math.Max(1, Math.Min(rows, ChunkElements / Math.Max(1, length)));
        int items = checked((int)((rows + s.RowsPerItem - 1) / s.RowsPerItem * s.Pieces));
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(items, &Item<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(items, &Item<Simd16Avx2>, &s); break;
            default: pool.For(items, &Item<Simd16Scalar>, &s); break;
        }
    }

    private struct Arguments
    {
        public StridedLoop Loop;
        public Binary Function;
        public float* A, B, Y;
        public int Pieces, RowsPerItem;
    }

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        ref readonly var loop = ref s->Loop;
        int last = loop.Rank - 1;
        long sa = loop.Stride(0, last), sb = loop.Stride(1, last);
        long first = item / s->Pieces * (long)s->RowsPerItem, end = Math.Min(loop.Rows, first + s->RowsPerItem);
        long from = item % s->Pieces * (long)ChunkElements, length = loop.RowLength;
        int n = (int)(s->Pieces > 1 ? Math.Min(ChunkElements, length - from) : length);
        for (long row = first; row < end; row++)
        {
            Row<V>(
                s->Function, s->A + loop.Offset(0, row) + from * sa, sa, s->B + loop.Offset(1, row) + from * sb, sb,
                s->Y + loop.Offset(2, row) + from * loop.Stride(2, last), n);
        }
    }

    private static void Row<V>(Binary f, float* a, long sa, float* b, long sb, float* y, int n)
        where V : unmanaged, ISimd16<V>
    {
        if (f == Binary.Pow || (sa is not (0 or 1)) || (sb is not (0 or 1)))
        {
            for (int i = 0; i < n; i++) y[i] = Scalar(f, a[i * sa], b[i * sb]);
            return;
        }

        int k = 0;
        for (; k + 16 <= n; k += 16)
        {
            var u = sa == 0 ? V.Create(*a) : V.Load(a + k);
            var v = sb == 0 ? V.Create(*b) : V.Load(b + k);
            var r = f switch
            {
                Binary.Add => u + v,
                Binary.Sub => u - v,
                Binary.Mul => u * v,
                Binary.Div => u / v,
                Binary.Max => V.Max(u, v),
                _ => V.Min(u, v),
            };
            V.Store(r, y + k);
        }

        for (; k < n; k++) y[k] = Scalar(f, a[k * sa], b[k * sb]);
    }

    private static float Scalar(Binary f, float a, float b) => f switch
    {
        Binary.Add => a + b,
        Binary.Sub => a - b,
        Binary.Mul => a * b,
        Binary.Div => a / b,
        Binary.Max => a > b ? a : b,
        Binary.Min => a < b ? a : b,
        _ => (float)Math.Pow(a, b),
    };
}
