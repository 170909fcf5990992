// y = f(a, b) with numpy broadcasting through strides.
//
// Work split  rows of the merged loop, or chunks of the row where there is only one.
// Numerics    one rounding; Max and Min give NaN where either operand is NaN; Pow is the platform's pow in double, rounded once.
// Roofline    12 bytes moved per element: memory bound.
using System.Runtime.CompilerServices;

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

        switch (f)
        {
            case Binary.Add: Vectors<V, Sum>(a, sa, b, sb, y, n); break;
            case Binary.Sub: Vectors<V, Difference>(a, sa, b, sb, y, n); break;
            case Binary.Mul: Vectors<V, Product>(a, sa, b, sb, y, n); break;
            case Binary.Div: Vectors<V, Quotient>(a, sa, b, sb, y, n); break;
            case Binary.Max: Vectors<V, Larger>(a, sa, b, sb, y, n); break;
            default: Vectors<V, Smaller>(a, sa, b, sb, y, n); break;
        }

        for (int k = n / 16 * 16; k < n; k++) y[k] = Scalar(f, a[k * sa], b[k * sb]);
    }

    private static void Vectors<V, F>(float* a, long sa, float* b, long sb, float* y, int n)
        where V : unmanaged, ISimd16<V>
        where F : struct, IFunction
    {
        for (int k = 0; k + 16 <= n; k += 16)
            V.Store(F.Apply(sa == 0 ? V.Create(*a) : V.Load(a + k), sb == 0 ? V.Create(*b) : V.Load(b + k)), y + k);
    }

    private interface IFunction
    {
        static abstract V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V>;
    }

    private readonly struct Sum : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V> => a + b;
    }

    private readonly struct Difference : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V> => a - b;
    }

    private readonly struct Product : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V> => a * b;
    }

    private readonly struct Quotient : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V> => a / b;
    }

    // Max and Min of the lanes pass a NaN in b; |a| > -1 is false for a NaN in a, which then goes through as well.
    private readonly struct Larger : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V> => V.SelectGreater(V.Abs(a), V.Create(-1f), V.Max(a, b), a);
    }

    private readonly struct Smaller : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<V>(V a, V b)
            where V : unmanaged, ISimd16<V> => V.SelectGreater(V.Abs(a), V.Create(-1f), V.Min(a, b), a);
    }

    private static float Scalar(Binary f, float a, float b) => f switch
    {
        Binary.Add => a + b,
        Binary.Sub => a - b,
        Binary.Mul => a * b,
        Binary.Div => a / b,
        Binary.Max => float.IsNaN(a) || a > b ? a : b,
        Binary.Min => float.IsNaN(a) || a < b ? a : b,
        _ => (float)Math.Pow(a, b),
    };
}
