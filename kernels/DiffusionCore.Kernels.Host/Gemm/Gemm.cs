// y = epilogue(x W^T) on packed weights. x: [M, K] with pitch ldx, y: [M, N] with pitch ldy.
//
// Work split  blocks of rows x ranges of panels, handed out by one counter; which worker takes which changes no byte.
// Numerics    see MicroKernel and PanelProduct: blocks of 768 terms, each one chain of FMA.
// Roofline    2MNK flops on 4(MK + NK + MN) bytes: compute bound from M of about 64; below it bound by reading the weights.
// Measured    2-core AMD EPYC Zen 4, 2026-11-24, F32 weights with bias; GF/s and part of the measured FMA peak (117.6 a core, 235 both). The machine
//             was shared: one worker by CPU time, two by the best of many short calls.
//
//                              AVX-512, 1 worker   2 workers     AVX2, 1 worker   2 workers
//             4096x320x320     109   93 %          198   84 %    100   85 %       188   80 %
//             1024x640x640     112   96 %          222   94 %    107   91 %       200   85 %
//             256x1280x1280    113   97 %          226   96 %     99   85 %       202   86 %
//             77x768x768       111   95 %          218   93 %    109   93 %       219   93 %
//             BF16 and F16 weights cost 0 to 8 % of that. M = 1 streams the weights at 29 GB/s on one core.
namespace DiffusionCore.Kernels.Host;

/// <summary>Matrix product with packed weights.</summary>
public static unsafe class Gemm
{
    // Enough jobs for the last ones to be short beside the whole.
    private const int JobsPerWorker = 8;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(int m, int n, int k, WeightType type, int workers) => LaunchScratch.Bytes(n, k, type, workers, 0);

    /// <summary>y = epilogue(x W^T).</summary>
    /// <param name="packed">W: [n, k], from <see cref="PackedWeights"/> with one tap, or from PackColumns or PackRows.</param>
    /// <param name="rowsPerImage">Rows that share a channel vector.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    public static void Run(
        WorkerPool pool, float* x, long ldx, int m, int k, void* packed, WeightType type, int n, float* y, long ldy, int rowsPerImage, in Epilogue epilogue, void* scratch) =>
        Run(HostIsa.Active, pool, x, ldx, m, k, packed, type, n, y, ldy, rowsPerImage, epilogue, scratch);

    /// <summary>Packs B of a product A B, [k, n] with pitch ldb, into <see cref="PackedWeights.Bytes"/>(n, k, 1, F32) bytes: then n are the outputs.</summary>
    public static void PackColumns(float* b, long ldb, int k, int n, float* dst) => PackColumns(HostIsa.Active, b, ldb, k, n, dst);

    /// <summary>Packs B of a product A B^T, [n, k] with pitch ldb, into <see cref="PackedWeights.Bytes"/>(n, k, 1, F32) bytes.</summary>
    public static void PackRows(float* b, long ldb, int k, int n, float* dst) => PackRows(HostIsa.Active, b, ldb, k, n, dst);

    internal static void PackColumns(Isa isa, float* b, long ldb, int k, int n, float* dst)
    {
        int panelWidth = MicroKernel.WidthOf(isa);
        for (int first = 0; first < n; first += panelWidth)
        {
            int valid = Math.Min(panelWidth, n - first), width = (valid + 15) / 16 * 16;
            for (int i = 0; i < k; i++, dst += width)
            {
                new ReadOnlySpan<float>(b + i * ldb + first, valid).CopyTo(new Span<float>(dst, valid));
                new Span<float>(dst + valid, width - valid).Clear();
            }
        }
    }

    internal static void PackRows(Isa isa, float* b, long ldb, int k, int n, float* dst)
    {
        int panelWidth = MicroKernel.WidthOf(isa);
        for (int first = 0; first < n; first += panelWidth)
        {
            int valid = Math.Min(panelWidth, n - first), width = (valid + 15) / 16 * 16;
            Transpose.Run(b + first * ldb, ldb, valid, k, dst, width);
            if (valid < width)
            {
                for (int i = 0; i < k; i++) new Span<float>(dst + (long)i * width + valid, width - valid).Clear();
            }

            dst += (long)k * width;
        }
    }

    internal static void Run(
        Isa isa, WorkerPool pool, float* x, long ldx, int m, int k, void* packed, WeightType type, int n, float* y, long ldy, int rowsPerImage, in Epilogue epilogue, void* scratch)
    {
        if (m <= 0 || n <= 0) return;
        var s = new Arguments { X = x, Y = y, LdX = ldx, LdY = ldy, M = m, K = k, RowsPerImage = rowsPerImage, Epilogue = epilogue };
        s.Scratch = LaunchScratch.Prepare(pool, isa, packed, type, n, k, 0, scratch);
        s.Panels = PackedWeights.Panels(MicroKernel.WidthOf(isa), n);
        (s.BlockRows, s.PanelsPerJob) = Split(isa, m, s.Panels, pool.Count);
        s.Blocks = (m + s.BlockRows - 1) / s.BlockRows;
        pool.For(s.Blocks * ((s.Panels + s.PanelsPerJob - 1) / s.PanelsPerJob), &Item, &s);
    }

    // Rows in whole tiles; all panels in one job where the rows alone make enough jobs, for then the rows stay in L2.
    internal static (int BlockRows, int PanelsPerJob) Split(Isa isa, int m, int panels, int workers)
    {
        int tile = Math.Max(4, MicroKernel.RowsOf(isa)), wanted = workers == 1 ? 1 : JobsPerWorker * workers;
        int rows = PanelProduct.MaximumRows / tile * tile;
        while (rows >= 4 * tile && (long)((m + rows - 1) / rows) * panels < wanted) rows = rows / 2 / tile * tile;
        int blocks = (m + rows - 1) / rows;
        rows = ((m + blocks - 1) / blocks + tile - 1) / tile * tile;
        blocks = (m + rows - 1) / rows;
        int groups = Math.Min(panels, Math.Max(1, (wanted + blocks - 1) / blocks));
        return (rows, (panels + groups - 1) / groups);
    }

    private struct Arguments
    {
        public float* X, Y;
        public long LdX, LdY;
        public int M, K, RowsPerImage, Panels, BlockRows, Blocks, PanelsPerJob;
        public Epilogue Epilogue;
        public LaunchScratch Scratch;
    }

    private static void Item(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        int first = item % s->Blocks * s->BlockRows, group = item / s->Blocks;
        nint origin = 0;
        var job = s->Scratch.Job(worker);
        job.RowCount = Math.Min(s->BlockRows, s->M - first);
        for (int r = 0; r < job.RowCount; r++)
        {
            job.Rows[r] = s->X + (first + r) * s->LdX;
            job.Pixels[r] = first + r;
        }

        job.RowsPerImage = s->RowsPerImage;
        job.RunOffsets = &origin;
        job.RunLength = s->K;
        job.FirstPanel = group * s->PanelsPerJob;
        job.LastPanel = Math.Min(s->Panels, job.FirstPanel + s->PanelsPerJob);
        job.Y = s->Y;
        job.LdY = s->LdY;
        PanelProduct.Run(job, s->Epilogue);
    }
}
