// y[r, c] = x[r, c] * gelu(x[r, H + c]). x: [rows, 2H], y: [rows, H].
//
// Work split  rows, several per item.
// Roofline    12 bytes and about 45 flops per result: near the ridge on one core, memory bound on many.
namespace DiffusionCore.Kernels.Host;

/// <summary>Gated GELU.</summary>
public static unsafe class GegluKernel
{
    private const int ChunkElements = 8192;

    public static void Run(WorkerPool pool, float* x, float* y, long rows, int half)
    {
        var s = new Arguments { X = x, Y = y, Rows = rows, Half = half, RowsPerItem = Math.Max(1, ChunkElements / half) };
        int items = checked((int)((rows + s.RowsPerItem - 1) / s.RowsPerItem));
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(items, &Item<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(items, &Item<Simd16Avx2>, &s); break;
            default: pool.For(items, &Item<Simd16Scalar>, &s); break;
        }
    }

    private struct Arguments
    {
        public float* X, Y;
        public long Rows;
        public int Half, RowsPerItem;
    }

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        float* tail = stackalloc float[32];
        long end = Math.Min(s->Rows, (item + 1L) * s->RowsPerItem);
        for (long row = (long)item * s->RowsPerItem; row < end; row++)
        {
            float* x = s->X + row * 2 * s->Half;
            float* gate = x + s->Half;
            float* y = s->Y + row * s->Half;
            int c = 0;
            for (; c + 16 <= s->Half; c += 16) V.Store(V.Load(x + c) * VectorMath.Gelu(V.Load(gate + c)), y + c);
            if (c == s->Half) continue;
            for (int k = 0; k < 16; k++)
            {
                tail[k] = c + k < s->Half ? x[c + k] : 0;
                tail[16 + k] = c + k < s->Half ? gate[c + k] : 0;
            }

            V.Store(V.Load(tail) * VectorMath.Gelu(V.Load(tail + 16)), tail);
            for (int k = 0; c + k < s->Half; k++) y[c + k] = tail[k];
        }
    }
}
