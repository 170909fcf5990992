// Nearest vector of a table, by squared distance.
//
//   y[r] = argmin_k sum_d (x[r, d] - e[k, d])^2,  the first k where several are equally near
//   x: [rows, D], e: [K, D], y: [rows]
//
// Work split  16 rows per item: the lanes are rows, so the codes are visited in their order and a tie keeps the first.
// Numerics    differences are squared, not expanded to |x|^2 + |e|^2 - 2xe: the expansion cancels where a code is near, which is where it matters.
//             A row with NaN gets code 0.
// Roofline    3 flops per (row, code, dimension); a codebook of 8192 x 4 stays in the second-level cache: compute bound.
namespace DiffusionCore.Kernels.Host;

/// <summary>Vector quantisation.</summary>
public static unsafe class NearestCode
{
    /// <summary>The widest vectors: 16 rows of them lie on the stack.</summary>
    public const int MaximumWidth = 1024;

    private const int Lanes = 16;

    /// <param name="codes">At most 2^24, so that a lane of floats holds an index exactly.</param>
    public static void Run(WorkerPool pool, float* x, float* table, long* y, long rows, int codes, int width)
    {
        var s = new Arguments { X = x, Table = table, Y = y, Rows = rows, Codes = codes, Width = width };
        int items = checked((int)((rows + Lanes - 1) / Lanes));
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(items, &Item<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(items, &Item<Simd16Avx2>, &s); break;
            default: pool.For(items, &Item<Simd16Scalar>, &s); break;
        }
    }

    private struct Arguments
    {
        public float* X, Table;
        public long* Y;
        public long Rows;
        public int Codes, Width;
    }

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        long first = (long)item * Lanes;
        int count = (int)Math.Min(Lanes, s->Rows - first), width = s->Width;
        float* tile = stackalloc float[Lanes * width];
        new Span<float>(tile, Lanes * width).Clear();
        for (int r = 0; r < count; r++)
            for (int d = 0; d < width; d++) tile[d * Lanes + r] = s->X[(first + r) * width + d];

        V best = V.Create(float.PositiveInfinity), index = V.Create(0f);
        float* code = s->Table;
        for (int k = 0; k < s->Codes; k++, code += width)
        {
            V sum = V.Create(0f);
            for (int d = 0; d < width; d++)
            {
                V difference = V.Load(tile + d * Lanes) - V.Create(code[d]);
                sum = V.MultiplyAdd(difference, difference, sum);
            }

            index = V.SelectGreater(best, sum, V.Create(k), index);
            best = V.SelectGreater(best, sum, sum, best);
        }

        V.Store(index, tile);
        for (int r = 0; r < count; r++) s->Y[first + r] = (long)tile[r];
    }
}
