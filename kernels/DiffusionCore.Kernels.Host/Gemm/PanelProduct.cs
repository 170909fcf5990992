// The loop nest around the micro-kernel that matrix products and convolutions share: one block of rows times a range of panels.
//
//   for panel: for block of inputs (the only blocking of the sum): for tile of rows: micro-kernel; then the epilogue, row by row
//
// A block of B (up to 768 x 48 floats, 147 KB) stays in L2 while the rows pass over it; the partial sums of the row block stay in L1/L2;
// the result is written once.
namespace DiffusionCore.Kernels.Host;

internal static unsafe class PanelProduct
{
    /// <summary>Terms of a sum that are chained before the next block is added; part of the definition of a result.</summary>
    public const int BlockTerms = 768;

    /// <summary>Most rows that one call takes.</summary>
    public const int RowsPerBlock = 128;

    public const long AccumulatorBytes = (RowsPerBlock + MicroKernel.MaximumRows) * 48L * sizeof(float);

    public const long RowTableBytes = (RowsPerBlock + MicroKernel.MaximumRows) * 8L;

    /// <summary>Inputs per block: <see cref="BlockTerms"/> over the taps, a multiple of 16.</summary>
    public static int BlockInputs(int taps) => Math.Max(16, BlockTerms / taps / 16 * 16);

    /// <summary>Per-worker bytes for widening one panel block.</summary>
    public static long WidenBytes(int inputs, int taps) => (long)Math.Min(inputs, BlockInputs(taps)) * taps * 48 * sizeof(float);

    public struct Job
    {
        public float** RowTable;
        public float** Results;
        public int RowCount;
        public long FirstRow;
        public int RowsPerImage;
        public nint* TapOffsets;
        public int Taps, Inputs, Outputs, FirstPanel, LastPanel;
        public byte* Packed;
        public WeightType Type;
        public float* Accumulator, Widened;
    }

    /// <summary>The row table must be padded with repeats of its last entry up to a multiple of the tile.</summary>
    public static void Run(in Job job, in Epilogue epilogue)
    {
        switch (HostIsa.Active)
        {
            case Isa.Avx512: Run<Simd16Avx512>(job, epilogue); break;
            case Isa.Avx2: Run<Simd16Avx2>(job, epilogue); break;
            default: Run<Simd16Scalar>(job, epilogue); break;
        }
    }

    private static void Run<V>(in Job job, in Epilogue epilogue)
        where V : unmanaged, ISimd16<V>
    {
        int tile = MicroKernel.Rows, blockInputs = BlockInputs(job.Taps);
        for (int panel = job.FirstPanel; panel < job.LastPanel; panel++)
        {
            int width = PackedWeights.Width(job.Outputs, panel), first = panel * MicroKernel.PanelWidth;
            byte* weights = job.Packed + PackedWeights.Offset(panel, job.Inputs, job.Taps) * PackedWeights.Size(job.Type);
            for (int c0 = 0; c0 < job.Inputs; c0 += blockInputs)
            {
                int c = Math.Min(blockInputs, job.Inputs - c0);
                float* b;
                nint tapStride;
                if (job.Type == WeightType.F32)
                {
                    b = (float*)weights + (long)c0 * width;
                    tapStride = (nint)job.Inputs * width;
                }
                else
                {
                    b = job.Widened;
                    tapStride = (nint)c * width;
                    for (int t = 0; t < job.Taps; t++)
                        PackedWeights.Widen(weights + ((long)t * job.Inputs + c0) * width * 2, job.Type, b + t * tapStride, (long)c * width);
                }

                for (int row = 0; row < job.RowCount; row += tile)
                {
                    // Rows of the table point at input 0; the block's first input shifts them all.
                    float** rows = job.RowTable + row;
                    if (c0 == 0)
                    {
                        MicroKernel.Run(width, rows, job.TapOffsets, job.Taps, c, b, tapStride, job.Accumulator + row * 48L, 48, false);
                    }
                    else
                    {
                        Shifted(rows, c0, tile, width, job, c, b, tapStride, job.Accumulator + row * 48L);
                    }
                }
            }

            int n = Math.Min(width, job.Outputs - first);
            for (int row = 0; row < job.RowCount; row++)
            {
                long index = job.FirstRow + row;
                Epilogue.Store<V>(epilogue, job.Accumulator + row * 48L, job.Results[row] + first, index, index / job.RowsPerImage, first, n);
            }
        }
    }

    private static void Shifted(float** rows, int shift, int tile, int width, in Job job, int c, float* b, nint tapStride, float* acc)
    {
        float** shifted = stackalloc float*[MicroKernel.MaximumRows];
        for (int i = 0; i < tile; i++) shifted[i] = rows[i] + shift;
        MicroKernel.Run(width, shifted, job.TapOffsets, job.Taps, c, b, tapStride, acc, 48, true);
    }
}
