// The loop nest around the micro-kernel that matrix products and convolutions share: one block of rows times a range of panels.
//
//   for panel: for block of terms (the only blocking of the sum): for tile of rows: micro-kernel, after the last block the epilogue
//
// The terms of a sum are numbered tap by tap, input by input, as they lie in a packed panel; a block is 768 consecutive ones whatever tap they
// belong to, so its weights are one run of memory (147 KB for 48 lanes) that stays in L2 while the rows pass over it. Taps that are neighbours in
// the source as well (a row of the kernel, without dilation) join into one run of the inner loop, which is what keeps 1 or 3 input channels fast.
// Blocks of 384 and 256 terms were 0 to 3 % slower on both vector paths (2-core AMD EPYC Zen 4, 2026-11-24).
// While a tile is computed, the micro-kernel fetches the next tile's rows where the job sees them first, else its share of the next block of weights:
// 4096x320x320 from 83 to 91 % of the peak of two cores, 1024x640x2560 with F16 weights from 86 to 90 %.
// The partial sums of the row block stay in L1/L2; the result is written once, from L1.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

internal static unsafe class PanelProduct
{
    /// <summary>Terms of a sum that are chained before the next block is added; part of the definition of a result.</summary>
    public const int BlockTerms = 768;

    /// <summary>Most rows that one call takes.</summary>
    public const int MaximumRows = 128;

    public struct Job
    {
        public Isa Isa;

        /// <summary>Pointers to the first term of each row; tail entries are filled in by <see cref="Run"/>.</summary>
        public float** Rows;

        /// <summary>For each row its row in the result.</summary>
        public long* Pixels;
        public int RowCount, RowsPerImage;

        /// <summary>Runs of <see cref="RunLength"/> terms, at these offsets from a row's pointer.</summary>
        public nint* RunOffsets;
        public int RunLength;
        public int Terms, Outputs, FirstPanel, LastPanel;
        public byte* Packed;
        public WeightType Type;
        public float* Y;
        public long LdY;
        public float* Accumulator, Widened, Pads;
        public Segment* Segments;
    }

    public static void Run(in Job job, in Epilogue epilogue)
    {
        switch (job.Isa)
        {
            case Isa.Avx512: Run<Simd16Avx512>(job, epilogue); break;
            case Isa.Avx2: Run<Simd16Avx2>(job, epilogue); break;
            default: Run<Simd16Scalar>(job, epilogue); break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<V>(in Job job, in Epilogue epilogue)
        where V : unmanaged, ISimd16<V>
    {
        int tile = MicroKernel.RowsOf(job.Isa), panelWidth = MicroKernel.WidthOf(job.Isa);
        for (int r = job.RowCount; r % tile != 0; r++) job.Rows[r] = job.Rows[job.RowCount - 1];

        for (int panel = job.FirstPanel; panel < job.LastPanel; panel++)
        {
            int width = PackedWeights.Width(panelWidth, job.Outputs, panel), first = panel * panelWidth, n = Math.Min(width, job.Outputs - first);
            byte* weights = job.Packed + PackedWeights.Offset(panelWidth, panel, job.Terms, 1) * PackedWeights.Size(job.Type);
            float* bias = null;
            if (epilogue.Bias != null)
            {
                bias = job.Pads;
                TileEpilogue.Pad(epilogue.Bias + first, n, width, bias);
            }

            for (int k0 = 0; k0 < job.Terms; k0 += BlockTerms)
            {
                int k = Math.Min(BlockTerms, job.Terms - k0), segments = Segments(job, k0, k);
                float* b = (float*)weights + (long)k0 * width;
                if (job.Type != WeightType.F32)
                {
                    b = job.Widened;
                    PackedWeights.Widen(job.Isa, weights + (long)k0 * width * 2, job.Type, b, (long)k * width);
                }

                bool last = k0 + k == job.Terms, fresh = panel == job.FirstPanel && segments == 1;
                var weightsAhead = WeightsAhead(job, panel, panelWidth, k0 + k, k, tile);
                for (int row = 0; row < job.RowCount; row += tile)
                {
                    float* acc = job.Accumulator + row * width;
                    var ahead = weightsAhead;
                    if (fresh && row + tile < job.RowCount) ahead = new Ahead { From = (byte*)(job.Rows[row + tile] + job.Segments[0].Offset), Step = tile * sizeof(float) };
                    else if (ahead.Step > 0) ahead.From += row / tile * k * ahead.Step;
                    if (last) Prefetch(job, epilogue, row, Math.Min(row + tile, job.RowCount), first, n);
                    MicroKernel.Run(job.Isa, width, job.Rows + row, job.RowCount - row, job.Segments, segments, b, acc, k0 > 0, ahead);
                    if (!last) continue;
                    TileEpilogue.Store<V>(
                        epilogue, acc, width, Math.Min(tile, job.RowCount - row), job.Y, job.LdY, job.Pixels + row, job.RowsPerImage, first, n, bias,
                        job.Pads + MicroKernel.MaximumWidth);
                }
            }
        }
    }

    // The block of weights behind term k0 of a panel, spread over the tiles of this one. The panels of a job are one run of memory.
    private static Ahead WeightsAhead(in Job job, int panel, int panelWidth, int k0, int k, int tile)
    {
        int size = PackedWeights.Size(job.Type), width = PackedWeights.Width(panelWidth, job.Outputs, panel);
        long elements = 0, first = PackedWeights.Offset(panelWidth, panel, job.Terms, 1) + (long)k0 * width;
        if (k0 < job.Terms) elements = (long)Math.Min(BlockTerms, job.Terms - k0) * width;
        else if (panel + 1 < job.LastPanel) elements = (long)Math.Min(BlockTerms, job.Terms) * PackedWeights.Width(panelWidth, job.Outputs, panel + 1);
        int tiles = (job.RowCount + tile - 1) / tile;
        return elements == 0 ? default : new Ahead { From = job.Packed + first * size, Step = (nint)((elements * size / tiles + k - 1) / k) };
    }

    // The lines that the epilogue will touch: on their way while the micro-kernel runs (4096x320x320: 83 % of peak without, 89 % with).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(in Job job, in Epilogue epilogue, int from, int to, int first, int n)
    {
        if (!Sse.IsSupported) return;
        for (int r = from; r < to; r++)
        {
            float* y = job.Y + job.Pixels[r] * job.LdY + first;
            for (int j = 0; j < n; j += 16) Sse.Prefetch0(y + j);
            if (epilogue.Residual == null) continue;
            float* residual = epilogue.Residual + job.Pixels[r] * epilogue.ResidualPitch + first;
            for (int j = 0; j < n; j += 16) Sse.Prefetch0(residual + j);
        }
    }

    // The runs that terms [k0, k0 + k) fall into.
    private static int Segments(in Job job, int k0, int k)
    {
        int count = 0, run = k0 / job.RunLength, at = k0 % job.RunLength;
        while (k > 0)
        {
            int length = Math.Min(k, job.RunLength - at);
            job.Segments[count++] = new Segment { Offset = job.RunOffsets[run++] + at, Length = length };
            k -= length;
            at = 0;
        }

        return count;
    }
}
