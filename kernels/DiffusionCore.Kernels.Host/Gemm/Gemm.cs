// y = epilogue(x W^T) on packed weights. x: [M, K] with pitch ldx, y: [M, N] with pitch ldy.
//
// Work split  blocks of 128 rows x ranges of panels, handed out by one counter; which worker takes which changes no byte.
// Numerics    see MicroKernel and PanelProduct: blocks of 768 terms, each one chain of FMA.
// Roofline    2MNK flops on 4(MK + NK + MN) bytes: compute bound from M of about 64; below it bound by reading the weights.
namespace DiffusionCore.Kernels.Host;

/// <summary>Matrix product with packed weights.</summary>
public static unsafe class Gemm
{
    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(int m, int n, int k, WeightType type, int workers) => LaunchScratch.Bytes(n, k, 1, type, workers, 0);

    /// <param name="rowsPerImage">Rows that share a channel vector.</param>
    public static void Run(
        WorkerPool pool, float* x, long ldx, int m, int k, void* packed, WeightType type, int n, float* y, long ldy, int rowsPerImage, in Epilogue epilogue, void* scratch)
    {
        if (m == 0) return;
        var s = new Arguments { X = x, Y = y, LdX = ldx, LdY = ldy, M = m, K = k, N = n, RowsPerImage = rowsPerImage, Epilogue = epilogue };
        s.Scratch = LaunchScratch.Prepare(pool, packed, type, n, k, 1, 0, scratch);
        s.Blocks = (m + PanelProduct.RowsPerBlock - 1) / PanelProduct.RowsPerBlock;
        int panels = PackedWeights.Panels(n);
        int groups = Math.Min(panels, Math.Max(1, (4 * pool.Count + s.Blocks - 1) / s.Blocks));
        s.PanelsPerGroup = (panels + groups - 1) / groups;
        pool.For(s.Blocks * ((panels + s.PanelsPerGroup - 1) / s.PanelsPerGroup), &Item, &s);
    }

    private struct Arguments
    {
        public float* X, Y;
        public long LdX, LdY;
        public int M, K, N, RowsPerImage, Blocks, PanelsPerGroup;
        public Epilogue Epilogue;
        public LaunchScratch Scratch;
    }

    private static void Item(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        int block = item % s->Blocks, group = item / s->Blocks;
        int first = block * PanelProduct.RowsPerBlock, count = Math.Min(PanelProduct.RowsPerBlock, s->M - first);
        nint zero = 0;
        var job = s->Scratch.Job(worker, s->N, s->K, 1);
        for (int r = 0; r < count; r++)
        {
            job.RowTable[r] = s->X + (first + r) * s->LdX;
            job.Results[r] = s->Y + (first + r) * s->LdY;
        }

        for (int r = count; r < count + MicroKernel.MaximumRows; r++) job.RowTable[r] = job.RowTable[count - 1];
        job.RowCount = count;
        job.FirstRow = first;
        job.RowsPerImage = s->RowsPerImage;
        job.TapOffsets = &zero;
        job.FirstPanel = group * s->PanelsPerGroup;
        job.LastPanel = Math.Min(PackedWeights.Panels(s->N), job.FirstPanel + s->PanelsPerGroup);
        PanelProduct.Run(job, s->Epilogue);
    }
}

/// <summary>Scratch of one launch: widened weights where they are small, then per worker accumulators, row tables, one widened block and private bytes.</summary>
internal unsafe struct LaunchScratch
{
    private byte* packed;
    private WeightType type;
    private byte* workers;
    private long perWorker;
    private long privateOffset;

    public static long Bytes(int outputs, int inputs, int taps, WeightType type, int workers, long privateBytes) =>
        Whole(outputs, inputs, taps, type) + PerWorker(inputs, taps, privateBytes) * workers;

    public static LaunchScratch Prepare(WorkerPool pool, void* packed, WeightType type, int outputs, int inputs, int taps, long privateBytes, void* scratch)
    {
        long whole = Whole(outputs, inputs, taps, type);
        var s = new LaunchScratch
        {
            packed = (byte*)packed, type = type, workers = (byte*)scratch + whole, perWorker = PerWorker(inputs, taps, privateBytes),
            privateOffset = PanelProduct.AccumulatorBytes + 2 * PanelProduct.RowTableBytes + PanelProduct.WidenBytes(inputs, taps),
        };
        if (whole == 0) return s;
        var w = new Widening { Source = (byte*)packed, Type = type, Target = (float*)scratch, Count = PackedWeights.Elements(outputs, inputs, taps) };
        pool.For((int)((w.Count + Widening.Chunk - 1) / Widening.Chunk), &WidenChunk, &w);
        s.packed = (byte*)scratch;
        s.type = WeightType.F32;
        return s;
    }

    public readonly PanelProduct.Job Job(int worker, int outputs, int inputs, int taps)
    {
        byte* at = workers + worker * perWorker;
        return new PanelProduct.Job
        {
            Accumulator = (float*)at,
            RowTable = (float**)(at + PanelProduct.AccumulatorBytes),
            Results = (float**)(at + PanelProduct.AccumulatorBytes + PanelProduct.RowTableBytes),
            Widened = (float*)(at + PanelProduct.AccumulatorBytes + 2 * PanelProduct.RowTableBytes),
            Packed = packed,
            Type = type,
            Outputs = outputs,
            Inputs = inputs,
            Taps = taps,
        };
    }

    public readonly byte* Private(int worker) => workers + worker * perWorker + privateOffset;

    private static long Whole(int outputs, int inputs, int taps, WeightType type)
    {
        long bytes = PackedWeights.Elements(outputs, inputs, taps) * sizeof(float);
        return type != WeightType.F32 && bytes <= PackedWeights.WidenWholeBytes ? (bytes + 63) / 64 * 64 : 0;
    }

    private static long PerWorker(int inputs, int taps, long privateBytes) =>
        (PanelProduct.AccumulatorBytes + 2 * PanelProduct.RowTableBytes + PanelProduct.WidenBytes(inputs, taps) + privateBytes + 63) / 64 * 64;

    private struct Widening
    {
        public const int Chunk = 16384;
        public byte* Source;
        public WeightType Type;
        public float* Target;
        public long Count;
    }

    private static void WidenChunk(void* state, int item, int worker)
    {
        var w = (Widening*)state;
        long first = (long)item * Widening.Chunk;
        PackedWeights.Widen(w->Source + first * 2, w->Type, w->Target + first, Math.Min(Widening.Chunk, w->Count - first));
    }
}
