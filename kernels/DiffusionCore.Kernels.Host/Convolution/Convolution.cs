// Direct convolution, channels last: the micro-kernel over tap offsets, no im2col.
//
//   y[n, i, j, o] = epilogue( sum over (a, b), c of x[n, i*sh - top + a*dh, j*sw - left + b*dw, c] * W[o, c, a, b] ), zero outside.
//   x: [N, H, W, C] with a pitch, y: [N, OH, OW, O] with a pitch. 1x1 without stride or padding is a matrix product.
//
// Work split  (image group, block of output rows, range of panels). A job copies the rows that it reads into a zero-bordered block of its own
//             (the place where a fused input operation belongs); tiles then gather any 8 (6) output pixels of the block, also across rows.
//             Small maps share a job: several images, so that a block of weights meets up to 128 pixels.
// Numerics    see MicroKernel: blocks of 768/taps inputs, taps outer, inputs inner; independent of every split.
// Roofline    2 N OH OW O C kh kw flops: compute bound but for a few channels.
namespace DiffusionCore.Kernels.Host;

/// <summary>Extents of a convolution.</summary>
public struct ConvShape
{
    public int Batch, Height, Width, Channels, Outputs, KernelH, KernelW, StrideH, StrideW, PadTop, PadLeft, PadBottom, PadRight, DilationH, DilationW;

    public readonly int OutHeight => (Height + PadTop + PadBottom - DilationH * (KernelH - 1) - 1) / StrideH + 1;

    public readonly int OutWidth => (Width + PadLeft + PadRight - DilationW * (KernelW - 1) - 1) / StrideW + 1;

    public readonly bool IsProduct => KernelH == 1 && KernelW == 1 && StrideH == 1 && StrideW == 1 && (PadTop | PadLeft | PadBottom | PadRight) == 0;
}

/// <summary>Direct convolution on packed weights.</summary>
public static unsafe class Convolution
{
    private const int MaximumTaps = 1024;

    // Bytes of the bordered block that a job works on: half of a 1 MB L2 beside a block of weights.
    private const long BlockBytes = 256 << 10;

    /// <summary>Null where this kernel takes the shape, else why not.</summary>
    public static string? Declines(in ConvShape s) => s.KernelH * s.KernelW > MaximumTaps ? $"more than {MaximumTaps} taps" : null;

    /// <summary>Scratch in bytes for any call of this shape.</summary>
    public static long ScratchBytes(in ConvShape s, WeightType type, int workers) => s.IsProduct
        ? Gemm.ScratchBytes(s.Batch * s.Height * s.Width, s.Outputs, s.Channels, type, workers)
        : LaunchScratch.Bytes(s.Outputs, s.Channels, s.KernelH * s.KernelW, type, workers, PrivateBytes(s));

    public static void Run(WorkerPool pool, in ConvShape s, float* x, long ldx, void* packed, WeightType type, float* y, long ldy, in Epilogue epilogue, void* scratch)
    {
        if (s.IsProduct)
        {
            Gemm.Run(pool, x, ldx, s.Batch * s.Height * s.Width, s.Channels, packed, type, s.Outputs, y, ldy, s.Height * s.Width, epilogue, scratch);
            return;
        }

        int taps = s.KernelH * s.KernelW;
        var a = new Arguments { Shape = s, X = x, Y = y, LdX = ldx, LdY = ldy, Epilogue = epilogue };
        a.Scratch = LaunchScratch.Prepare(pool, packed, type, s.Outputs, s.Channels, taps, PrivateBytes(s), scratch);
        (a.Rows, a.Images) = Block(s);
        a.RowBlocks = (s.OutHeight + a.Rows - 1) / a.Rows;
        a.ImageGroups = (s.Batch + a.Images - 1) / a.Images;
        int places = a.RowBlocks * a.ImageGroups, panels = PackedWeights.Panels(s.Outputs);
        int groups = Math.Min(panels, Math.Max(1, (4 * pool.Count + places - 1) / places));
        a.PanelsPerGroup = (panels + groups - 1) / groups;
        pool.For(places * ((panels + a.PanelsPerGroup - 1) / a.PanelsPerGroup), &Item, &a);
    }

    private struct Arguments
    {
        public ConvShape Shape;
        public float* X, Y;
        public long LdX, LdY;
        public int Rows, Images, RowBlocks, ImageGroups, PanelsPerGroup;
        public Epilogue Epilogue;
        public LaunchScratch Scratch;
    }

    private static int BorderedWidth(in ConvShape s) => (s.OutWidth - 1) * s.StrideW + s.DilationW * (s.KernelW - 1) + 1;

    private static int BorderedHeight(in ConvShape s, int rows) => (rows - 1) * s.StrideH + s.DilationH * (s.KernelH - 1) + 1;

    // Output rows and images of one job: about 128 pixels or more, within BlockBytes where that is possible.
    private static (int Rows, int Images) Block(in ConvShape s)
    {
        long row = (long)BorderedWidth(s) * s.Channels * sizeof(float);
        int rows = s.OutHeight;
        while (rows > 1 && (BorderedHeight(s, rows) * row > BlockBytes || rows * s.OutWidth > 4 * PanelProduct.RowsPerBlock)) rows = (rows + 1) / 2;
        int images = 1;
        if (rows == s.OutHeight)
        {
            while (images < s.Batch && 2 * images * rows * s.OutWidth <= PanelProduct.RowsPerBlock && 2L * images * BorderedHeight(s, rows) * row <= BlockBytes) images *= 2;
        }

        return (rows, images);
    }

    private static long PrivateBytes(in ConvShape s)
    {
        var (rows, images) = Block(s);
        return (long)images * BorderedHeight(s, rows) * BorderedWidth(s) * s.Channels * sizeof(float);
    }

    private static void Item(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int places = a->RowBlocks * a->ImageGroups, place = item % places, group = item / places;
        int firstRow = place % a->RowBlocks * a->Rows, rows = Math.Min(a->Rows, s.OutHeight - firstRow);
        int firstImage = place / a->RowBlocks * a->Images, images = Math.Min(a->Images, s.Batch - firstImage);
        int width = BorderedWidth(s), height = BorderedHeight(s, rows), taps = s.KernelH * s.KernelW;
        float* block = (float*)a->Scratch.Private(worker);
        for (int image = 0; image < images; image++)
            CopyBordered(*a, firstImage + image, firstRow * s.StrideH - s.PadTop, height, width, block + (long)image * height * width * s.Channels);

        nint* offsets = stackalloc nint[taps];
        for (int t = 0; t < taps; t++)
            offsets[t] = ((nint)(t / s.KernelW) * s.DilationH * width + t % s.KernelW * s.DilationW) * s.Channels;

        var job = a->Scratch.Job(worker, s.Outputs, s.Channels, taps);
        job.TapOffsets = offsets;
        job.FirstPanel = group * a->PanelsPerGroup;
        job.LastPanel = Math.Min(PackedWeights.Panels(s.Outputs), job.FirstPanel + a->PanelsPerGroup);
        job.RowsPerImage = s.OutHeight * s.OutWidth;
        int pixels = rows * s.OutWidth, total = images * pixels;
        // Whole images of one job are neighbours in memory, and so are the rows of one image: pixel numbers run on.
        long firstPixel = ((long)firstImage * s.OutHeight + firstRow) * s.OutWidth;
        for (int start = 0; start < total; start += PanelProduct.RowsPerBlock)
        {
            int count = Math.Min(PanelProduct.RowsPerBlock, total - start);
            for (int p = 0; p < count; p++)
            {
                int image = (start + p) / pixels, at = (start + p) % pixels, i = at / s.OutWidth, j = at % s.OutWidth;
                job.RowTable[p] = block + (((long)image * height + (long)i * s.StrideH) * width + (long)j * s.StrideW) * s.Channels;
                job.Results[p] = a->Y + (firstPixel + start + p) * a->LdY;
            }

            for (int p = count; p < count + MicroKernel.MaximumRows; p++) job.RowTable[p] = job.RowTable[count - 1];
            job.RowCount = count;
            job.FirstRow = firstPixel + start;
            PanelProduct.Run(job, a->Epilogue);
        }
    }

    // Rows [top, top + height) of the bordered map: zeros outside, channels dense.
    private static void CopyBordered(in Arguments a, int image, int top, int height, int width, float* dst)
    {
        ref readonly var s = ref a.Shape;
        int row = width * s.Channels, left = Math.Min(s.PadLeft, width), inside = Math.Max(0, Math.Min(s.Width, width - left));
        for (int r = 0; r < height; r++, dst += row)
        {
            int at = top + r;
            if (at < 0 || at >= s.Height)
            {
                new Span<float>(dst, row).Clear();
                continue;
            }

            float* src = a.X + ((long)image * s.Height + at) * s.Width * a.LdX;
            new Span<float>(dst, left * s.Channels).Clear();
            float* to = dst + left * s.Channels;
            if (a.LdX == s.Channels)
            {
                new ReadOnlySpan<float>(src, inside * s.Channels).CopyTo(new Span<float>(to, inside * s.Channels));
            }
            else
            {
                for (int c = 0; c < inside; c++) new ReadOnlySpan<float>(src + c * a.LdX, s.Channels).CopyTo(new Span<float>(to + c * s.Channels, s.Channels));
            }

            int used = (left + inside) * s.Channels;
            new Span<float>(dst + used, row - used).Clear();
        }
    }
}
