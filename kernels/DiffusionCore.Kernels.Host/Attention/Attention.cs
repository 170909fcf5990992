// softmax(scale Q K^T + mask) V, transposed and by blocks of keys: the scores are never stored whole.
//
//   For a panel of up to 48 (16) queries:  S^T[keys][queries] = K Q^T,  softmax down the columns,  O^T[d][queries] += V^T S^T.
//   S^T is already the packed panel that the second product reads, and both products are the micro-kernel of the matrix product:
//   the rows of K are read in place, V is transposed once per call. Head dimensions need no padding.
//
//   q: [B, Q, H*D], k: [B, K, H*D], v: [B, K, H*E], y: [B, Q, H*E], each with a pitch; heads side by side in the channels.
//
// Work split  (image, head, panel of queries).
// Numerics    online softmax over blocks of 256 keys (Milakov and Gimelshein 2018; Dao 2022): per query one running maximum and sum; a column
//             is one query, so neither panels nor vector width change a sum. A query that sees no key gives zeros.
// Roofline    2QK(D + E) flops against reading K and V once per panel: compute bound; the exponentials cost about a fifth at D = 40.
namespace DiffusionCore.Kernels.Host;

/// <summary>Extents of an attention.</summary>
public struct AttentionShape
{
    public int Batch, Heads, Queries, Keys, HeadDim, ValueDim;
    public float Scale;
    public bool Causal;
}

/// <summary>Blocked softmax attention.</summary>
public static unsafe class Attention
{
    /// <summary>Keys per block: part of the definition of a result.</summary>
    private const int BlockKeys = 256;

    // Lower than any score that matters, and finite: a difference of two of them is a number.
    private const float Lowest = -1e30f;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(in AttentionShape s, int workers) =>
        Aligned((long)s.Batch * s.Heads * s.ValueDim * s.Keys * sizeof(float)) + workers * PerWorker(s);

    /// <param name="mask">Additive, or null; element (b, h, i, j) is at b*maskBatch + h*maskHead + i*maskRow + j.</param>
    public static void Run(
        WorkerPool pool, in AttentionShape s, float* q, long ldq, float* k, long ldk, float* v, long ldv, float* mask, long maskBatch, long maskHead, long maskRow, float* y,
        long ldy, void* scratch)
    {
        var a = new Arguments
        {
            Shape = s, Q = q, K = k, V = v, Mask = mask, Y = y, LdQ = ldq, LdK = ldk, LdV = ldv, LdY = ldy, MaskBatch = maskBatch, MaskHead = maskHead, MaskRow = maskRow,
            Transposed = (float*)scratch, Workers = (byte*)scratch + Aligned((long)s.Batch * s.Heads * s.ValueDim * s.Keys * sizeof(float)),
            Panels = (s.Queries + MicroKernel.PanelWidth - 1) / MicroKernel.PanelWidth,
        };
        int heads = s.Batch * s.Heads;
        pool.For(heads * 4, &TransposeValues, &a);
        switch (HostIsa.Active)
        {
            case Isa.Avx512: pool.For(heads * a.Panels, &Item<Simd16Avx512>, &a); break;
            case Isa.Avx2: pool.For(heads * a.Panels, &Item<Simd16Avx2>, &a); break;
            default: pool.For(heads * a.Panels, &Item<Simd16Scalar>, &a); break;
        }
    }

    private struct Arguments
    {
        public AttentionShape Shape;
        public float* Q, K, V, Mask, Y, Transposed;
        public byte* Workers;
        public long LdQ, LdK, LdV, LdY, MaskBatch, MaskHead, MaskRow;
        public int Panels;
    }

    private static long Aligned(long bytes) => (bytes + 63) / 64 * 64;

    // Scores, queries, results, maximum, sum, correction; 48 lanes each; rows of tiles may overhang.
    private static long PerWorker(in AttentionShape s) =>
        (BlockKeys + s.HeadDim + s.ValueDim + 2L * MicroKernel.MaximumRows + 3) * 48 * sizeof(float) + (BlockKeys + 2L * MicroKernel.MaximumRows) / 8 * 64;

    private static void TransposeValues(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int head = item / 4, image = head / s.Heads, part = item % 4;
        int j0 = (int)((long)s.Keys * part / 4), j1 = (int)((long)s.Keys * (part + 1) / 4);
        float* v = a->V + (long)image * s.Keys * a->LdV + (long)(head % s.Heads) * s.ValueDim;
        float* t = a->Transposed + (long)head * s.ValueDim * s.Keys;
        for (int e0 = 0; e0 < s.ValueDim; e0 += 8)
        {
            int e1 = Math.Min(s.ValueDim, e0 + 8);
            for (int j = j0; j < j1; j++)
                for (int e = e0; e < e1; e++) t[(long)e * s.Keys + j] = v[j * a->LdV + e];
        }
    }

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int head = item / a->Panels, panel = item % a->Panels, image = head / s.Heads, h = head % s.Heads;
        int q0 = panel * MicroKernel.PanelWidth, queries = Math.Min(MicroKernel.PanelWidth, s.Queries - q0), width = (queries + 15) / 16 * 16;
        int d = s.HeadDim, e = s.ValueDim;

        float* scores = (float*)(a->Workers + worker * PerWorker(s));
        float* packed = scores + (BlockKeys + MicroKernel.MaximumRows) * 48L;
        float* result = packed + d * 48L;
        float* maximum = result + (e + MicroKernel.MaximumRows) * 48L;
        float* sum = maximum + 48;
        float* correction = sum + 48;
        var rows = (float**)(correction + 48);
        nint zero = 0;

        float* q = a->Q + ((long)image * s.Queries + q0) * a->LdQ + (long)h * d;
        for (int j = 0; j < width; j++)
            for (int i = 0; i < d; i++) packed[(long)i * width + j] = j < queries ? q[j * a->LdQ + i] * s.Scale : 0;
        for (int j = 0; j < width; j++)
        {
            maximum[j] = Lowest;
            sum[j] = 0;
        }

        float* keys = a->K + (long)image * s.Keys * a->LdK + (long)h * d;
        float* values = a->Transposed + (long)head * e * s.Keys;
        float* mask = a->Mask == null ? null : a->Mask + image * a->MaskBatch + h * a->MaskHead;
        int tile = MicroKernel.Rows;
        int visible = s.Causal ? Math.Min(s.Keys, q0 + queries) : s.Keys;
        for (int k0 = 0; k0 < visible; k0 += BlockKeys)
        {
            int count = Math.Min(BlockKeys, s.Keys - k0);
            for (int j = 0; j < count + MicroKernel.MaximumRows; j++) rows[j] = keys + (k0 + Math.Min(j, count - 1)) * a->LdK;
            for (int r = 0; r < count; r += tile) MicroKernel.Run(width, rows + r, &zero, 1, d, packed, 0, scores + (long)r * width, width, false);
            if (mask != null || s.Causal) ApplyMask(*a, mask, scores, k0, count, q0, queries, width);
            for (int c = 0; c < width; c += 16) SoftmaxColumns<V>(scores + c, count, width, maximum + c, sum + c, correction + c);
            if (k0 > 0)
            {
                for (int i = 0; i < e; i++)
                    for (int c = 0; c < width; c += 16) V.Store(V.Load(result + (long)i * width + c) * V.Load(correction + c), result + (long)i * width + c);
            }

            for (int r = 0; r < e; r += tile)
            {
                for (int i = 0; i < tile; i++) rows[i] = values + (long)Math.Min(r + i, e - 1) * s.Keys + k0;
                MicroKernel.Run(width, rows, &zero, 1, count, scores, 0, result + (long)r * width, width, k0 > 0);
            }
        }

        float* y = a->Y + ((long)image * s.Queries + q0) * a->LdY + (long)h * e;
        for (int j = 0; j < queries; j++)
        {
            float inverse = sum[j] > 0 ? 1 / sum[j] : float.IsNaN(sum[j]) ? float.NaN : 0;
            for (int i = 0; i < e; i++) y[j * a->LdY + i] = inverse == 0 ? 0 : result[(long)i * width + j] * inverse;
        }
    }

    private static void ApplyMask(in Arguments a, float* mask, float* scores, int k0, int count, int q0, int queries, int width)
    {
        for (int j = 0; j < count; j++)
        {
            for (int i = 0; i < queries; i++)
            {
                ref float score = ref scores[(long)j * width + i];
                if (a.Shape.Causal && k0 + j > q0 + i) score = float.NegativeInfinity;
                else if (mask != null) score += mask[(q0 + i) * a.MaskRow + k0 + j];
            }
        }
    }

    // One vector of queries: new maximum, exponentials in place, new sum, and what the former results are multiplied by.
    private static void SoftmaxColumns<V>(float* scores, int count, nint width, float* maximum, float* sum, float* correction)
        where V : unmanaged, ISimd16<V>
    {
        V old = V.Load(maximum), top = old;
        for (int j = 0; j < count; j++) top = V.Max(top, V.Load(scores + j * width));
        V factor = VectorMath.Exp(old - top), total = V.Create(0f);
        for (int j = 0; j < count; j++)
        {
            V p = VectorMath.Exp(V.Load(scores + j * width) - top);
            total += p;
            V.Store(p, scores + j * width);
        }

        V.Store(V.MultiplyAdd(V.Load(sum), factor, total), sum);
        V.Store(top, maximum);
        V.Store(factor, correction);
    }
}
