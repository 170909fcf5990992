// Direct convolution, channels last: the micro-kernel over tap offsets, no im2col.
//
//   y[n, i, j, o] = epilogue( sum over (a, b), c of x[n, i*sh - top + a*dh, j*sw - left + b*dw, c] * W[o, c, a, b] ), zero outside.
//   x: [N, H, W, C] with a pitch, y: [N, OH, OW, O] with a pitch. 1x1 without stride or padding is a matrix product.
//
// Work split  (place, range of panels); a place is a rectangle of about 128 output pixels of one image, or several small images whole, so that a
//             block of weights meets 128 pixels whatever the map. A worker copies the pixels that its place reads into a zero-bordered patch of
//             its own (where a fused input operation belongs) and keeps it while its next job is at the same place. Tiles gather any 8 (6) output
//             pixels of the patch, also across rows and images.
// Numerics    see MicroKernel and PanelProduct: taps outer, inputs inner, blocks of 768 terms; independent of every split.
// Roofline    2 N OH OW O C kh kw flops: compute bound but for a few channels.
// Measured    2-core AMD EPYC Zen 4, 2026-11-24, 3x3 with bias, F32; GF/s and part of the measured FMA peak (117.6 a core, 235 both). The machine was
//             shared: one worker by CPU time, two by the best of many short calls.
//
//                                      AVX-512, 1 worker   2 workers     AVX2, 1 worker   2 workers
//             32 ->  32 @32, batch 32  101   86 %          193   82 %     97   82 %       157   67 %
//             64 ->  64 @16, batch 32  110   94 %          217   92 %    105   89 %       207   88 %
//             128 -> 128 @8, batch 32  113   96 %          226   96 %    107   91 %       215   91 %
//             256 -> 128 @8, batch 32  113   97 %                        108   92 %       205   87 %
//             128 -> 128 @8, batch 1   115   98 %          224   95 %    109   93 %       215   91 %
//             320 -> 320 @64           114   97 %                        105   90 %       190   81 %
//             Few channels: 1 -> 32 38 GF/s, 4 -> 320 82 GF/s; 32 -> 1 only 6 GF/s, for 15 of 16 lanes are padding (idea: lanes over terms).
namespace DiffusionCore.Kernels.Host;

/// <summary>Direct convolution on packed weights.</summary>
public static unsafe class Convolution
{
    // A patch takes at most half of a 1 MB L2, beside a block of weights, unless its place would get very small.
    private const long PatchBytes = 512 << 10;
    private const int SmallestPlace = 24;
    private const int PlaceWidth = 16;
    private const int JobsPerWorker = 8;
    private const int FewestJobsPerWorker = 3;

    /// <summary>Null where this kernel takes the shape, else why not.</summary>
    public static string? Declines(in ConvShape s) => s.OutHeight < 1 || s.OutWidth < 1 ? "kernel larger than the padded map" : null;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(in ConvShape s, WeightType type, int workers) => s.IsProduct
        ? Gemm.ScratchBytes(s.Batch * s.Height * s.Width, s.Outputs, s.Channels, type, workers)
        : LaunchScratch.Bytes(s.Outputs, s.Channels * s.KernelH * s.KernelW, type, workers, PrivateBytes(s));

    /// <param name="packed">W: [O, C, kh*kw], from <see cref="PackedWeights"/>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    public static void Run(WorkerPool pool, in ConvShape s, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch) =>
        Run(HostIsa.Active, pool, s, x, ldx, packed, type, y, ldy, epilogue, scratch);

    internal static void Run(
        Isa isa, WorkerPool pool, in ConvShape s, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch)
    {
        if (s.IsProduct)
        {
            Gemm.Run(isa, pool, x, ldx, s.Batch * s.Height * s.Width, s.Channels, packed, type, s.Outputs, y, ldy, s.Height * s.Width, epilogue, scratch);
            return;
        }

        int panels = PackedWeights.Panels(MicroKernel.WidthOf(isa), s.Outputs);
        var p = Places.Of(s).Split(s, pool.Count == 1 ? 1 : FewestJobsPerWorker * pool.Count, panels);
        var a = new Arguments { Shape = s, Places = p, Panels = panels, X = x, Y = y, LdX = ldx, LdY = ldy, Epilogue = epilogue };
        a.Scratch = LaunchScratch.Prepare(pool, isa, packed, type, s.Outputs, s.Channels * s.KernelH * s.KernelW, PrivateBytes(s), scratch);
        int groups = pool.Count == 1 ? 1 : Math.Min(a.Panels, Math.Max(1, (JobsPerWorker * pool.Count + p.Count - 1) / p.Count));
        a.PanelsPerJob = (a.Panels + groups - 1) / groups;
        a.Groups = (a.Panels + a.PanelsPerJob - 1) / a.PanelsPerJob;
        for (int worker = 0; worker < pool.Count; worker++) ((Private*)a.Scratch.Private(worker))->Place = -1;
        pool.For(p.Count * a.Groups, &Item, &a);
    }

    private struct Arguments
    {
        public ConvShape Shape;
        public Places Places;
        public float* X, Y;
        public long LdX, LdY;
        public int Panels, PanelsPerJob, Groups;
        public Epilogue Epilogue;
        public LaunchScratch Scratch;
    }

    /// <summary>How the output is cut. No result depends on it.</summary>
    private struct Places
    {
        public int Images, Rows, Columns, ImageGroups, RowBlocks, ColumnBlocks;

        public readonly int Count => ImageGroups * RowBlocks * ColumnBlocks;

        public static Places Of(in ConvShape s)
        {
            int height = s.OutHeight, width = s.OutWidth;
            int columns = width <= 2 * PlaceWidth && height * width <= PanelProduct.MaximumRows ? width : Even(width, PlaceWidth);
            int rows = Even(height, Math.Max(1, PanelProduct.MaximumRows / columns));
            while (rows * columns > SmallestPlace && Bytes(s, rows, columns) > PatchBytes)
            {
                if (rows >= columns) rows = (rows + 1) / 2;
                else columns = (columns + 1) / 2;
            }

            int images = 1;
            if (rows == height && columns == width)
                images = (int)Math.Clamp(Math.Min(PanelProduct.MaximumRows / (height * width), PatchBytes / Bytes(s, rows, columns)), 1, s.Batch);
            return Cut(s, images, rows, columns);
        }

        /// <summary>Smaller places where one small image would leave workers idle. A patch never grows by it.</summary>
        public readonly Places Split(in ConvShape s, int jobs, int panels)
        {
            var p = this;
            while ((long)p.Count * panels < jobs)
            {
                if (p.Images > 1) p = Cut(s, (p.Images + 1) / 2, p.Rows, p.Columns);
                else if (p.Rows > 1 && p.Rows * p.Columns >= 2 * SmallestPlace) p = Cut(s, 1, (p.Rows + 1) / 2, p.Columns);
                else break;
            }

            return p;
        }

        private static Places Cut(in ConvShape s, int images, int rows, int columns) => new()
        {
            Images = images, Rows = rows, Columns = columns, ImageGroups = (s.Batch + images - 1) / images,
            RowBlocks = (s.OutHeight + rows - 1) / rows, ColumnBlocks = (s.OutWidth + columns - 1) / columns,
        };

        // Equal parts of at most this size.
        private static int Even(int extent, int most)
        {
            int parts = (extent + most - 1) / most;
            return (extent + parts - 1) / parts;
        }

        private static long Bytes(in ConvShape s, int rows, int columns) => (long)PatchHeight(s, rows) * PatchWidth(s, columns) * s.Channels * sizeof(float);
    }

    /// <summary>At the head of a worker's private bytes; run offsets and the patch follow.</summary>
    private struct Private
    {
        public int Place;
    }

    private static int PatchWidth(in ConvShape s, int columns) => (columns - 1) * s.StrideW + s.DilationW * (s.KernelW - 1) + 1;

    private static int PatchHeight(in ConvShape s, int rows) => (rows - 1) * s.StrideH + s.DilationH * (s.KernelH - 1) + 1;

    private static long RunBytes(in ConvShape s) => 64 + ((long)s.KernelH * s.KernelW * sizeof(nint) + 63) / 64 * 64;

    private static long PrivateBytes(in ConvShape s)
    {
        var p = Places.Of(s);
        return RunBytes(s) + (long)p.Images * PatchHeight(s, p.Rows) * PatchWidth(s, p.Columns) * s.Channels * sizeof(float);
    }

    private static void Item(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        ref readonly var p = ref a->Places;
        int place = item / a->Groups, group = item % a->Groups;
        int column0 = place % p.ColumnBlocks * p.Columns, row0 = place / p.ColumnBlocks % p.RowBlocks * p.Rows;
        int image0 = place / (p.ColumnBlocks * p.RowBlocks) * p.Images;
        int columns = Math.Min(p.Columns, s.OutWidth - column0), rows = Math.Min(p.Rows, s.OutHeight - row0), images = Math.Min(p.Images, s.Batch - image0);
        int width = PatchWidth(s, columns), height = PatchHeight(s, rows);
        long imageFloats = (long)height * width * s.Channels;

        byte* own = a->Scratch.Private(worker);
        nint* runs = (nint*)(own + 64);
        float* patch = (float*)(own + RunBytes(s));
        var job = a->Scratch.Job(worker);
        if (((Private*)own)->Place != place)
        {
            ((Private*)own)->Place = place;
            for (int image = 0; image < images; image++)
                CopyPatch(*a, image0 + image, row0 * s.StrideH - s.PadTop, column0 * s.StrideW - s.PadLeft, height, width, patch + image * imageFloats);

            // The micro-kernel pads the row table itself; runs and tables stay valid as long as the patch.
            int r = 0;
            for (int image = 0; image < images; image++)
            {
                for (int i = 0; i < rows; i++)
                {
                    float* source = patch + image * imageFloats + (long)i * s.StrideH * width * s.Channels;
                    long pixel = ((long)(image0 + image) * s.OutHeight + row0 + i) * s.OutWidth + column0;
                    for (int j = 0; j < columns; j++, r++)
                    {
                        job.Rows[r] = source + (long)j * s.StrideW * s.Channels;
                        job.Pixels[r] = pixel + j;
                    }
                }
            }

            for (int t = 0; t < s.KernelH * s.KernelW; t++)
            {
                if (s.DilationW != 1) runs[t] = ((nint)(t / s.KernelW) * s.DilationH * width + t % s.KernelW * s.DilationW) * s.Channels;
                else if (t < s.KernelH) runs[t] = (nint)t * s.DilationH * width * s.Channels;
            }
        }

        job.RunOffsets = runs;
        job.RunLength = s.DilationW == 1 ? s.KernelW * s.Channels : s.Channels;
        job.RowCount = images * rows * columns;
        job.RowsPerImage = s.OutHeight * s.OutWidth;
        job.FirstPanel = group * a->PanelsPerJob;
        job.LastPanel = Math.Min(a->Panels, job.FirstPanel + a->PanelsPerJob);
        job.Y = a->Y;
        job.LdY = a->LdY;
        PanelProduct.Run(job, a->Epilogue);
    }

    // Rows [top, top + height) and columns [left, left + width) of one image: zeros outside it, channels dense.
    private static void CopyPatch(in Arguments a, int image, int top, int left, int height, int width, float* dst)
    {
        ref readonly var s = ref a.Shape;
        int channels = s.Channels, row = width * channels;
        int before = Math.Clamp(-left, 0, width), inside = Math.Clamp(s.Width - left - before, 0, width - before);
        for (int r = 0; r < height; r++, dst += row)
        {
            int at = top + r;
            if (at < 0 || at >= s.Height || inside == 0)
            {
                new Span<float>(dst, row).Clear();
                continue;
            }

            int factor = s.Factor;
            float* line = a.X + ((long)image * s.Height / factor + at / factor) * (s.Width / factor) * a.LdX, src = line + (left + before) * a.LdX;
            float* to = dst + before * channels;
            new Span<float>(dst, before * channels).Clear();
            if (factor > 1)
            {
                for (int c = 0; c < inside; c++)
                    new ReadOnlySpan<float>(line + (left + before + c) / factor * a.LdX, channels).CopyTo(new Span<float>(to + c * channels, channels));
            }
            else if (a.LdX == channels)
            {
                new ReadOnlySpan<float>(src, inside * channels).CopyTo(new Span<float>(to, inside * channels));
            }
            else
            {
                for (int c = 0; c < inside; c++) new ReadOnlySpan<float>(src + c * a.LdX, channels).CopyTo(new Span<float>(to + c * channels, channels));
            }

            int used = (before + inside) * channels;
            new Span<float>(dst + used, row - used).Clear();
        }
    }
}
