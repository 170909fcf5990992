// Scratch of one launch of a product: widened weights where they are small, then per worker accumulators, row tables, one widened panel block and
// bytes of the caller's own.
namespace DiffusionCore.Kernels.Host;

internal unsafe struct LaunchScratch
{
    private const long AccumulatorBytes = (PanelProduct.MaximumRows + MicroKernel.MaximumRows) * MicroKernel.MaximumWidth * sizeof(float);
    private const long TableBytes = (PanelProduct.MaximumRows + MicroKernel.MaximumRows) * 8L;
    private const long PadBytes = TileEpilogue.PadFloats * sizeof(float);

    // Weights up to this size (widened) are widened whole, once per launch, by all workers; larger ones per job, panel block by panel block.
    private const long WidenWholeBytes = 4 << 20;
    private const int WidenChunk = 16384;

    private Isa isa;
    private byte* packed;
    private WeightType type;
    private byte* workers;
    private long perWorker;
    private long privateOffset;
    private int outputs;
    private int terms;

    /// <param name="terms">Terms of a sum: inputs times taps.</param>
    /// <param name="privateBytes">Bytes per worker for the caller.</param>
    public static long Bytes(int outputs, int terms, WeightType type, int workers, long privateBytes) =>
        WholeBytes(outputs, terms, type) + PerWorker(terms, type, privateBytes) * workers;

    public static LaunchScratch Prepare(WorkerPool pool, Isa isa, void* packed, WeightType type, int outputs, int terms, long privateBytes, void* scratch)
    {
        long whole = WholeBytes(outputs, terms, type), perWorker = PerWorker(terms, type, privateBytes);
        var s = new LaunchScratch
        {
            isa = isa, packed = (byte*)packed, type = type, workers = (byte*)scratch + whole, perWorker = perWorker,
            privateOffset = perWorker - Aligned(privateBytes), outputs = outputs, terms = terms,
        };
        if (whole == 0) return s;
        var w = new Widening { Isa = isa, Source = (byte*)packed, Type = type, Target = (float*)scratch, Count = PackedWeights.Elements(outputs, terms, 1) };
        pool.For((int)((w.Count + WidenChunk - 1) / WidenChunk), &Widen, &w);
        s.packed = (byte*)scratch;
        s.type = WeightType.F32;
        return s;
    }

    /// <summary>A job on this worker's memory; rows, panels, runs and result are the caller's to fill in.</summary>
    public readonly PanelProduct.Job Job(int worker)
    {
        byte* at = workers + worker * perWorker;
        byte* tables = at + AccumulatorBytes + PadBytes;
        return new PanelProduct.Job
        {
            Isa = isa,
            Accumulator = (float*)at,
            Pads = (float*)(at + AccumulatorBytes),
            Rows = (float**)tables,
            Pixels = (long*)(tables + TableBytes),
            Segments = (Segment*)(tables + 2 * TableBytes),
            Widened = (float*)(tables + 2 * TableBytes + SegmentBytes(terms)),
            Packed = packed,
            Type = type,
            Outputs = outputs,
            Terms = terms,
        };
    }

    public readonly byte* Private(int worker) => workers + worker * perWorker + privateOffset;

    private static long Aligned(long bytes) => (bytes + 63) / 64 * 64;

    // A block of terms touches no more runs than it has terms.
    private static long SegmentBytes(int terms) => Aligned((long)Math.Min(terms, PanelProduct.BlockTerms) * sizeof(Segment));

    private static long WholeBytes(int outputs, int terms, WeightType type)
    {
        long bytes = PackedWeights.Elements(outputs, terms, 1) * sizeof(float);
        return type != WeightType.F32 && bytes <= WidenWholeBytes ? Aligned(bytes) : 0;
    }

    private static long PerWorker(int terms, WeightType type, long privateBytes)
    {
        long widened = type == WeightType.F32 ? 0 : (long)Math.Min(terms, PanelProduct.BlockTerms) * MicroKernel.MaximumWidth * sizeof(float);
        return AccumulatorBytes + PadBytes + 2 * TableBytes + SegmentBytes(terms) + widened + Aligned(privateBytes);
    }

    private struct Widening
    {
        public Isa Isa;
        public byte* Source;
        public WeightType Type;
        public float* Target;
        public long Count;
    }

    private static void Widen(void* state, int item, int worker)
    {
        var w = (Widening*)state;
        long first = (long)item * WidenChunk;
        PackedWeights.Widen(w->Isa, w->Source + first * 2, w->Type, w->Target + first, Math.Min(WidenChunk, w->Count - first));
    }
}
