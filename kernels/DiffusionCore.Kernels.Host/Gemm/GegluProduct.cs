// Linear layer into gated GELU: the doubled hidden layer is never stored.
//
//   y = h * gelu(g),  [h, g] = x W^T + b.  x: [M, K] with a pitch, W: [2H, K] packed, y: [M, H] with a pitch.
//
// Work split  (block of rows, range of panels of h). A panel of h meets the one or two panels of g beside its columns while all are in L1 and L2;
//             each panel of g is computed once in a range and kept until the next panel of h has read its rest.
// Numerics    every sum as in Gemm, then the operations of GegluKernel: the same bytes as the two steps.
// Roofline    4 M H K flops on 4(MK + 2HK + MH) bytes; apart the steps also write and read 8 M H.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Matrix product whose results gate each other.</summary>
public static unsafe class GegluProduct
{
    private const int Slots = 3;        // h, and two panels of g in turn

    /// <summary>Null where this kernel takes the shape, else why not.</summary>
    public static string? Declines(int half) => half % 16 != 0 ? "half of the outputs is not a multiple of 16" : null;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(int half, int k, WeightType type, int workers) => LaunchScratch.Bytes(2 * half, k, type, workers, PrivateBytes);

    /// <param name="packed">W: [2 half, k], from <see cref="PackedWeights"/> with one tap.</param>
    /// <param name="bias">[2 half] or null.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    public static void Run(
        WorkerPool pool, float* x, long ldx, int m, int k, void* packed, WeightType type, int half, float* bias, float* y, long ldy, void* scratch) =>
        Run(HostIsa.Active, pool, x, ldx, m, k, packed, type, half, bias, y, ldy, scratch);

    internal static void Run(
        Isa isa, WorkerPool pool, float* x, long ldx, int m, int k, void* packed, WeightType type, int half, float* bias, float* y, long ldy, void* scratch)
    {
        if (m <= 0 || half <= 0) return;
        var s = new Arguments { Isa = isa, X = x, Y = y, LdX = ldx, LdY = ldy, M = m, K = k, Half = half, Epilogue = new Epilogue { Bias = bias } };
        s.Scratch = LaunchScratch.Prepare(pool, isa, packed, type, 2 * half, k, PrivateBytes, scratch);
        s.Panels = PackedWeights.Panels(MicroKernel.WidthOf(isa), half);
        (s.BlockRows, s.PanelsPerJob) = Gemm.Split(isa, m, s.Panels, pool.Count);
        s.Blocks = (m + s.BlockRows - 1) / s.BlockRows;
        int jobs = s.Blocks * ((s.Panels + s.PanelsPerJob - 1) / s.PanelsPerJob);
        switch (isa)
        {
            case Isa.Avx512: pool.For(jobs, &Item<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(jobs, &Item<Simd16Avx2>, &s); break;
            default: pool.For(jobs, &Item<Simd16Scalar>, &s); break;
        }
    }

    private const long PrivateBytes = (long)Slots * PanelProduct.MaximumRows * MicroKernel.MaximumWidth * sizeof(float);

    private struct Arguments
    {
        public Isa Isa;
        public float* X, Y;
        public long LdX, LdY;
        public int M, K, Half, Panels, BlockRows, Blocks, PanelsPerJob;
        public Epilogue Epilogue;
        public LaunchScratch Scratch;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        int first = item % s->Blocks * s->BlockRows, group = item / s->Blocks, panelWidth = MicroKernel.WidthOf(s->Isa);
        nint origin = 0;
        float* own = (float*)s->Scratch.Private(worker);
        var job = s->Scratch.Job(worker);
        job.RowCount = Math.Min(s->BlockRows, s->M - first);
        for (int r = 0; r < job.RowCount; r++)
        {
            job.Rows[r] = s->X + (first + r) * s->LdX;
            job.Pixels[r] = r;
        }

        job.RowsPerImage = s->M;
        job.RunOffsets = &origin;
        job.RunLength = s->K;
        job.LdY = Slots * (long)panelWidth;
        int last = Math.Min(s->Panels, (group + 1) * s->PanelsPerJob), computed = -1;
        for (int panel = group * s->PanelsPerJob; panel < last; panel++)
        {
            int column = panel * panelWidth, n = Math.Min(panelWidth, s->Half - column);
            Panel(s, ref job, panel, own);
            for (int gate = (s->Half + column) / panelWidth; gate <= (s->Half + column + n - 1) / panelWidth; gate++)
            {
                if (gate > computed) Panel(s, ref job, gate, own + (1 + gate % 2) * panelWidth);
                computed = Math.Max(computed, gate);
            }

            for (int r = 0; r < job.RowCount; r++)
            {
                float* row = own + r * job.LdY, y = s->Y + (first + r) * s->LdY + column;
                for (int j = 0; j < n; j += 16)
                {
                    int at = s->Half + column + j;
                    V gate = V.Load(row + (1 + at / panelWidth % 2) * panelWidth + at % panelWidth);
                    V.Store(V.Load(row + j) * VectorMath.Gelu(gate), y + j);
                }
            }
        }
    }

    // One panel of the product to a slot of the block's rows.
    private static void Panel(Arguments* s, ref PanelProduct.Job job, int panel, float* slot)
    {
        job.Y = slot - (long)panel * MicroKernel.WidthOf(s->Isa);
        job.FirstPanel = panel;
        job.LastPanel = panel + 1;
        PanelProduct.Run(job, s->Epilogue);
    }
}
