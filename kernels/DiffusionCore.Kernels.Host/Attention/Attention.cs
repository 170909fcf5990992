// softmax(scale Q K^T + mask) V, transposed and by blocks of keys: the scores are never stored whole.
//
//   For a panel of up to 48 (16) queries:  S^T[keys][queries] = K Q^T,  softmax down the columns,  O^T[d][queries] += V^T S^T.
//   S^T is already the packed panel that the second product reads, and both products are the micro-kernel of the matrix product:
//   V is transposed and a K of short rows gathered once per call, head by head. Head dimensions need no padding.
//
//   q: [B, Q, H*D], k: [B, K, H*D], v: [B, K, H*E], y: [B, Q, H*E], each with a pitch; heads side by side in the channels.
//
// Work split  (image, head, 96 or 48 queries); few keys: (image, 96 queries) and all heads.
// Numerics    online softmax over blocks of 256 keys, 128 where E > 160 (Milakov and Gimelshein 2018; Dao 2022): per query one running maximum and sum; a column
//             is one query, so neither panels nor vector width change a sum. Scores carry a factor log2(e), so that the exponential is 2^x.
//             A query that sees no key gives zeros.
// Roofline    2QK(D + E) flops against reading K and V once per panel: compute bound; the exponentials cost about a fifth at D = 40.
// Measured    2-core AMD EPYC Zen 4, 2026-11-24, one worker by CPU time on a shared machine; GF/s and part of the measured FMA peak (117.6 a core).
//
//                                     AVX-512       AVX2
//             8 heads 1024x1024, d 40  94   80 %     79   67 %
//             2x8 heads 256x256, d 160 96   82 %     85   72 %
//             8 heads 4096x77, d 40    70   60 %     59   50 %      (packing and storing queries)
//             1 head 4096x4096, d 512  96   82 %     88   75 %
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>Blocked softmax attention.</summary>
public static unsafe class Attention
{
    /// <summary>Keys per block: part of the definition of a result.</summary>
    internal const int BlockKeys = 256;

    // Where results are wide the block is half as long: its scores then stay in the L1 while they meet the many rows of values (1 head of 512: 373 to 355 ms).
    private const int WideValues = 160;

    // Two panels meet each block of keys while it is in cache, where that leaves enough jobs. A causal job is one panel on every path, so that the keys
    // that it leaves out do not depend on the width of a panel.
    private const int LongJob = 2 * MicroKernel.MaximumWidth;
    private const int ShortJob = MicroKernel.MaximumWidth;
    private const int JobsPerWorker = 6;

    // Keys and values of all heads up to this size stay in the L2: then a job takes its queries through all heads, and reads and writes whole rows.
    private const long CachedBytes = 256 << 10;

    private const float Log2E = 1.44269504f;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(in AttentionShape s, int workers) => KeyBytes(s) + ValueBytes(s) + workers * PerWorker(s);

    /// <param name="mask">Additive, or null; element (b, h, i, j) is at b*maskBatchStride + h*maskHeadStride + i*maskRowStride + j, strides in floats, 0 to broadcast.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    public static void Run(
        WorkerPool pool, in AttentionShape s, float* q, long ldq, float* k, long ldk, float* v, long ldv, float* mask, long maskBatchStride, long maskHeadStride, long maskRowStride,
        float* y, long ldy, void* scratch)
    {
        var a = new Arguments
        {
            Isa = pool.Isa, Shape = s, Q = q, K = k, V = v, Mask = mask, Y = y, LdQ = ldq, LdK = ldk, LdV = ldv, LdY = ldy,
            MaskBatch = maskBatchStride, MaskHead = maskHeadStride, MaskRow = maskRowStride,
            PackedKeys = (float*)scratch, Transposed = (float*)((byte*)scratch + KeyBytes(s)), Workers = (byte*)scratch + KeyBytes(s) + ValueBytes(s),
            PartsPerHead = (int)ValueBlocks(s),
        };
        int heads = s.Batch * s.Heads, wanted = JobsPerWorker * pool.Count;
        a.JobQueries = s.Causal || (long)heads * s.Queries < (long)wanted * LongJob ? ShortJob : LongJob;
        a.JobsPerHead = (s.Queries + a.JobQueries - 1) / a.JobQueries;
        long bytes = (long)s.Keys * s.Heads * (s.HeadDim + s.ValueDim) * sizeof(float);
        a.HeadsPerJob = bytes <= CachedBytes && (long)s.Batch * a.JobsPerHead >= wanted ? s.Heads : 1;
        pool.For(heads * a.PartsPerHead, &PackKeysAndValues, &a);
        int jobs = heads / a.HeadsPerJob * a.JobsPerHead;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(jobs, &Item<Simd16Avx512>, &a); break;
            case Isa.Avx2: pool.For(jobs, &Item<Simd16Avx2>, &a); break;
            default: pool.For(jobs, &Item<Simd16Scalar>, &a); break;
        }
    }

    private struct Arguments
    {
        public Isa Isa;
        public AttentionShape Shape;
        public float* Q, K, V, Mask, Y, PackedKeys, Transposed;
        public byte* Workers;
        public long LdQ, LdK, LdV, LdY, MaskBatch, MaskHead, MaskRow;
        public int JobQueries, JobsPerHead, HeadsPerJob, PartsPerHead;
    }

    private static long Aligned(long bytes) => (bytes + 63) / 64 * 64;

    // An odd number of cache lines: rows of a power of two would all fall into one set of the L1.
    private static long KeyPitch(in AttentionShape s) => ((s.HeadDim + 15L) / 16 | 1) * 16;

    // Short rows that many queries read are worth gathering; long ones are streams in place (d 160, 256 x 256: 12 % slower gathered).
    private static bool GathersKeys(in AttentionShape s) => s.HeadDim < 64 && s.Queries >= 256;

    private static long KeyBytes(in AttentionShape s) => !GathersKeys(s) ? 0 : (long)s.Batch * s.Heads * s.Keys * KeyPitch(s) * sizeof(float);

    private static int BlockOf(in AttentionShape s) => s.ValueDim > WideValues ? BlockKeys / 2 : BlockKeys;

    // Transposed values lie block of keys by block of keys, so that what meets a block of scores is one run of memory; short calls are one block.
    private static long ValuePitch(in AttentionShape s) => ((Math.Min(s.Keys, BlockOf(s)) + 15L) / 16 | 1) * 16;

    private static long ValueBlocks(in AttentionShape s) => (s.Keys + BlockOf(s) - 1L) / BlockOf(s);

    private static long ValueBytes(in AttentionShape s) => s.Batch * s.Heads * ValueBlocks(s) * s.ValueDim * ValuePitch(s) * sizeof(float);

    // Floats: scores of a panel; queries, results (rows of tiles may overhang), maximum and sum of a job. Then the row pointers of keys and of values.
    private static long PerWorker(in AttentionShape s) =>
        ((BlockKeys + (long)MicroKernel.MaximumRows) * MicroKernel.MaximumWidth + (s.HeadDim + s.ValueDim + (long)MicroKernel.MaximumRows + 2) * LongJob) * sizeof(float)
        + Aligned((BlockKeys + s.ValueDim + 2L * MicroKernel.MaximumRows) * sizeof(nint));

    // Keys of a head together: in place they are short pieces, as far apart as all heads are wide, which no prefetcher follows (d 40: a quarter of the
    // first product's time). Values transposed.
    private static void PackKeysAndValues(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int head = item / a->PartsPerHead, image = head / s.Heads, h = head % s.Heads, part = item % a->PartsPerHead, size = BlockOf(s), first = part * size, count = Math.Min(size, s.Keys - first);
        long row = (long)image * s.Keys + first, pitch = ValuePitch(s), keyPitch = KeyPitch(s);
        float* k = a->K + row * a->LdK + (long)h * s.HeadDim;
        float* to = a->PackedKeys + ((long)head * s.Keys + first) * keyPitch;
        for (int j = 0; j < count && GathersKeys(s); j++) new ReadOnlySpan<float>(k + j * a->LdK, s.HeadDim).CopyTo(new Span<float>(to + j * keyPitch, s.HeadDim));
        Transpose.Run(a->V + row * a->LdV + (long)h * s.ValueDim, a->LdV, count, s.ValueDim, a->Transposed + ((long)head * a->PartsPerHead + part) * s.ValueDim * pitch, pitch);
    }

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        int head = item / a->JobsPerHead * a->HeadsPerJob, job = item % a->JobsPerHead;
        for (int h = 0; h < a->HeadsPerJob; h++) Queries<V>(*a, head + h, job, worker);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Queries<V>(in Arguments a, int head, int job, int worker)
        where V : unmanaged, ISimd16<V>
    {
        ref readonly var s = ref a.Shape;
        int image = head / s.Heads, h = head % s.Heads, d = s.HeadDim, e = s.ValueDim, blockKeys = BlockOf(s);
        int q0 = job * a.JobQueries, q1 = Math.Min(q0 + a.JobQueries, s.Queries), visible = s.Causal ? Math.Min(s.Keys, q1) : s.Keys;
        int panelWidth = MicroKernel.WidthOf(a.Isa), resultRows = e + MicroKernel.MaximumRows;
        bool gathered = GathersKeys(s);
        long pitch = ValuePitch(s), keyPitch = gathered ? KeyPitch(s) : a.LdK;

        float* scores = (float*)(a.Workers + worker * PerWorker(s));
        float* packed = scores + (BlockKeys + MicroKernel.MaximumRows) * MicroKernel.MaximumWidth;
        float* result = packed + (long)d * LongJob;
        float* maximum = result + (long)resultRows * LongJob;
        float* sum = maximum + LongJob;
        var keyRows = (float**)(sum + LongJob);
        var valueRows = keyRows + BlockKeys + MicroKernel.MaximumRows;

        float* q = a.Q + ((long)image * s.Queries + q0) * a.LdQ + (long)h * d;
        float* keys = gathered ? a.PackedKeys + (long)head * s.Keys * keyPitch : a.K + (long)image * s.Keys * a.LdK + (long)h * d;
        float* values = a.Transposed + (long)head * a.PartsPerHead * e * pitch;
        float* mask = a.Mask == null ? null : a.Mask + image * a.MaskBatch + h * a.MaskHead + q0 * a.MaskRow;
        float* y = a.Y + ((long)image * s.Queries + q0) * a.LdY + (long)h * e;
        if (Sse.IsSupported)
        {
            // Results are written at the end, the next queries of the same rows read soon: both on their way now.
            for (int j = 0; j < q1 - q0; j++)
            {
                for (int i = 0; i < e; i += 16) Sse.Prefetch1(y + j * a.LdY + i);
                for (int i = 0; i < d; i += 16) Sse.Prefetch1(q + (j + LongJob) * a.LdQ + i);
            }
        }

        for (int p = 0; p < q1 - q0; p += panelWidth)
            PackQueries<V>(q + p * a.LdQ, a.LdQ, Math.Min(panelWidth, q1 - q0 - p), d, s.Scale, packed + (long)p * d, maximum + p, sum + p);

        // Keys outermost: all panels of the job meet a block of them while it is in cache.
        for (int k0 = 0; k0 < visible; k0 += blockKeys)
        {
            int count = Math.Min(blockKeys, visible - k0);
            for (int i = 0; i < resultRows; i++) valueRows[i] = values + (k0 / blockKeys * (long)e + Math.Min(i, e - 1)) * pitch;
            for (int j = 0; j < count + MicroKernel.MaximumRows; j++) keyRows[j] = keys + (k0 + Math.Min(j, count - 1)) * keyPitch;
            for (int p = 0; p < q1 - q0; p += panelWidth)
            {
                int queries = Math.Min(panelWidth, q1 - q0 - p), width = (queries + 15) / 16 * 16;
                float* o = result + (long)p * resultRows;
                Product(a.Isa, width, keyRows, count, d, packed + (long)p * d, scores, false);
                if (mask != null) AddMask<V>(mask + p * a.MaskRow + k0, a.MaskRow, scores, count, queries, width);
                if (s.Causal && k0 + count - 1 > q0 + p) HideLaterKeys<V>(scores, k0, count, q0 + p, width);
                for (int c = 0; c < width; c += 16) Softmax<V>(scores + c, count, width, maximum + p + c, sum + p + c, k0 > 0 ? o + c : null, e);
                Product(a.Isa, width, valueRows, e, count, scores, o, k0 > 0);
            }
        }

        for (int p = 0; p < q1 - q0; p += panelWidth)
            StoreResult<V>(result + (long)p * resultRows, sum + p, Math.Min(panelWidth, q1 - q0 - p), e, y + p * a.LdY, a.LdY);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackQueries<V>(float* q, long ldq, int queries, int d, float factor, float* packed, float* maximum, float* sum)
        where V : unmanaged, ISimd16<V>
    {
        int width = (queries + 15) / 16 * 16;
        if (queries < width) new Span<float>(packed, d * width).Clear();        // lanes without a query compute on zeros
        Transpose.Run(q, ldq, queries, d, packed, width);
        V scale = V.Create(factor * Log2E);
        for (int i = 0; i < d * width; i += 16) V.Store(V.Load(packed + i) * scale, packed + i);
        for (int j = 0; j < width; j++)
        {
            maximum[j] = float.NegativeInfinity;
            sum[j] = 0;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreResult<V>(float* result, float* sum, int queries, int e, float* y, long ldy)
        where V : unmanaged, ISimd16<V>
    {
        int width = (queries + 15) / 16 * 16;
        for (int c = 0; c < width; c += 16)
        {
            V total = V.Load(sum + c), inverse = V.SelectGreater(total, V.Create(0f), V.Create(1f) / total, total);     // no key: 0; NaN stays
            for (int i = 0; i < e; i++) V.Store(V.Load(result + i * width + c) * inverse, result + i * width + c);
        }

        Transpose.Run(result, width, e, queries, y, ldy);
    }

    // acc[r] (+)= rows[r][offset .. offset + k] * b for all rows, in blocks of terms as every product here.
    private static void Product(Isa isa, int width, float** rows, int count, int k, float* b, float* acc, bool add)
    {
        for (int k0 = 0; k0 < k; k0 += PanelProduct.BlockTerms)
            MicroKernel.RunTiles(isa, width, rows, count, k0, Math.Min(PanelProduct.BlockTerms, k - k0), b + (long)k0 * width, acc, add || k0 > 0);
    }

    // The lowest finite float, which many masks use for "hidden", must not become -infinity: a query with nothing else then averages all values.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaskValue(float m) => m < float.MinValue / Log2E && m >= float.MinValue ? float.MinValue : m * Log2E;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddMask<V>(float* mask, long pitch, float* scores, int count, int queries, int width)
        where V : unmanaged, ISimd16<V>
    {
        if (pitch == 0)
        {
            for (int j = 0; j < count; j++, scores += width)
            {
                V m = V.Create(MaskValue(mask[j]));
                for (int c = 0; c < width; c += 16) V.Store(V.Load(scores + c) + m, scores + c);
            }

            return;
        }

        // Sixteen keys at a time, so that the lines of the mask and those of the scores are both used whole.
        for (int j0 = 0; j0 < count; j0 += 16)
        {
            int j1 = Math.Min(count, j0 + 16);
            for (int i = 0; i < queries; i++)
                for (int j = j0; j < j1; j++) scores[(long)j * width + i] += MaskValue(mask[i * pitch + j]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void HideLaterKeys<V>(float* scores, int k0, int count, int q0, int width)
        where V : unmanaged, ISimd16<V>
    {
        float* lanes = stackalloc float[MicroKernel.MaximumWidth];
        for (int i = 0; i < width; i++) lanes[i] = q0 + i;      // exact below 2^24 queries
        V hidden = V.Create(float.NegativeInfinity);
        int from = Math.Max(0, q0 + 1 - k0);
        scores += (long)from * width;
        for (int j = from; j < count; j++, scores += width)
        {
            V key = V.Create(k0 + j);
            for (int c = 0; c < width; c += 16) V.Store(V.SelectGreater(key, V.Load(lanes + c), hidden, V.Load(scores + c)), scores + c);
        }
    }

    // Sixteen queries: new maximum, powers of two in place, new sum, and former results times what the maximum has moved.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Softmax<V>(float* scores, int count, nint width, float* maximum, float* sum, float* result, int e)
        where V : unmanaged, ISimd16<V>
    {
        V old = V.Load(maximum), top = old, lowest = V.Create(float.NegativeInfinity), total = V.Create(0f);
        V t1 = old, t2 = old, t3 = old;     // four chains: one alone waits for its own latency
        nint next = 0;
        for (; next + 4 <= count; next += 4)
        {
            float* p = scores + next * width;
            top = V.Max(top, V.Load(p));
            t1 = V.Max(t1, V.Load(p + width));
            t2 = V.Max(t2, V.Load(p + 2 * width));
            t3 = V.Max(t3, V.Load(p + 3 * width));
        }

        for (; next < count; next++) top = V.Max(top, V.Load(scores + next * width));
        top = V.Max(V.Max(top, t1), V.Max(t2, t3));
        V.Store(top, maximum);

        // Where nothing was visible yet the maximum is -infinity, and -infinity less itself would be NaN: any number serves.
        V zero = V.SelectGreater(top, lowest, top, V.Create(0f));
        for (nint j = 0; j < count; j++)
        {
            V p = PowerOfTwo(V.Load(scores + j * width) - zero);
            total += p;
            V.Store(p, scores + j * width);
        }

        V factor = PowerOfTwo(old - zero);
        V.Store(V.MultiplyAdd(V.Load(sum), factor, total), sum);
        if (result == null || V.ReduceMax(V.Create(1f) - factor) == 0) return;      // most blocks after the first few move no maximum: 1 head of 512 writes 512 rows less
        for (nint i = 0; i < e; i++) V.Store(V.Load(result + i * width) * factor, result + i * width);
    }

    // 2^x for the x <= 0 of a softmax: 1.5 ulp, 0 below -150 (and so at -infinity), NaN at NaN. 2^r = 1 + r q(r) on |r| <= 1/2, q by Remez exchange for
    // the relative error of 2^r (1.1e-7, then rounded to float). The order of the operands of Max lets NaN through.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V PowerOfTwo<V>(V x)
        where V : unmanaged, ISimd16<V>
    {
        x = V.Max(V.Create(-252f), x);
        V n = V.Round(x), r = x - n;
        V q = V.Create(1.3264739e-3f);
        q = V.MultiplyAdd(q, r, V.Create(9.67151672e-3f));
        q = V.MultiplyAdd(q, r, V.Create(5.55073358e-2f));
        q = V.MultiplyAdd(q, r, V.Create(0.240222424f));
        q = V.MultiplyAdd(q, r, V.Create(0.693147004f));
        return V.Scale(V.MultiplyAdd(q, r, V.Create(1f)), n);
    }
}
