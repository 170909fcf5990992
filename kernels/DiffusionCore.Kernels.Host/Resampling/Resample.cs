// Changes of resolution, channels last: nearest-neighbour, average pooling, FIR.
//
//   nearest  y[i, j] = x[floor(i H / OH), floor(j W / OW)]
//   average  mean over a window; the divisor counts real pixels, or padded ones too
//   fir      zeros inserted (Up), padding, correlation with the flipped separable taps, each Down-th sample kept
//   x: [N, H, W, C], y: [N, OH, OW, C], with a pitch of ldx, ldy floats between pixels
//
// Work split  output rows.
// Numerics    a pixel's sum runs over its window in row-major order (fir: by FMA), the same per channel whatever the vector.
// Roofline    memory bound but for long taps.
namespace DiffusionCore.Kernels.Host;

/// <summary>A window over a map. Extents in pixels; the channels of a pixel are contiguous.</summary>
public struct WindowShape
{
    public int Batch, Height, Width, Channels, OutHeight, OutWidth;

    /// <summary>Floats between pixels; 0 stands for <see cref="Channels"/>.</summary>
    public long LdX, LdY;
    public int KernelH, KernelW, StrideH, StrideW, PadTop, PadLeft, PadBottom, PadRight;
    public bool CountPadding;

    /// <summary>Pixels between the taps of a window; 0 stands for 1.</summary>
    public int DilationH, DilationW;
}

/// <summary>Resampling kernels.</summary>
public static unsafe class Resample
{
    public static void Nearest(WorkerPool pool, float* x, float* y, int batch, int height, int width, int channels, int outHeight, int outWidth, long ldx = 0, long ldy = 0)
    {
        var s = new Arguments { X = x, Y = y, Shape = Map(batch, height, width, channels, outHeight, outWidth, ldx, ldy) };
        pool.For(batch * outHeight, &NearestRow, &s);
    }

    public static void Average(WorkerPool pool, in WindowShape shape, float* x, float* y)
    {
        var s = new Arguments { X = x, Y = y, Shape = shape };
        if (s.Shape.LdX == 0) s.Shape.LdX = shape.Channels;
        if (s.Shape.LdY == 0) s.Shape.LdY = shape.Channels;
        int rows = shape.Batch * shape.OutHeight;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(rows, &AverageRow<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(rows, &AverageRow<Simd16Avx2>, &s); break;
            default: pool.For(rows, &AverageRow<Simd16Scalar>, &s); break;
        }
    }

    /// <param name="taps">The separable kernel, <paramref name="tapCount"/> numbers; the plane kernel is its outer product.</param>
    public static void Fir(
        WorkerPool pool, float* x, float* y, int batch, int height, int width, int channels, int outHeight, int outWidth, float* taps, int tapCount, int up, int down, int padBefore, long ldx = 0, long ldy = 0)
    {
        var s = new Arguments
        {
            X = x, Y = y, Taps = taps, TapCount = tapCount, Up = up, Down = down, PadBefore = padBefore,
            Shape = Map(batch, height, width, channels, outHeight, outWidth, ldx, ldy),
        };
        int rows = batch * outHeight;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(rows, &FirRow<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(rows, &FirRow<Simd16Avx2>, &s); break;
            default: pool.For(rows, &FirRow<Simd16Scalar>, &s); break;
        }
    }

    private static WindowShape Map(int batch, int height, int width, int channels, int outHeight, int outWidth, long ldx, long ldy) => new()
    {
        Batch = batch, Height = height, Width = width, Channels = channels, OutHeight = outHeight, OutWidth = outWidth,
        LdX = ldx == 0 ? channels : ldx, LdY = ldy == 0 ? channels : ldy,
    };

    private struct Arguments
    {
        public float* X, Y, Taps;
        public WindowShape Shape;
        public int TapCount, Up, Down, PadBefore;
    }

    private static void NearestRow(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int image = item / s.OutHeight, i = item % s.OutHeight;
        float* row = a->X + ((long)image * s.Height + (long)i * s.Height / s.OutHeight) * s.Width * s.LdX;
        float* y = a->Y + (long)item * s.OutWidth * s.LdY;
        for (int j = 0; j < s.OutWidth; j++, y += s.LdY)
        {
            float* p = row + (long)j * s.Width / s.OutWidth * s.LdX;
            if (s.Channels >= 8) Buffer.MemoryCopy(p, y, s.Channels * 4L, s.Channels * 4L);
            else for (int c = 0; c < s.Channels; c++) y[c] = p[c];
        }
    }

    private static void AverageRow<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int image = item / s.OutHeight, top = item % s.OutHeight * s.StrideH - s.PadTop;
        int dh = Math.Max(1, s.DilationH), dw = Math.Max(1, s.DilationW);
        var (r0, r1, paddedRows) = Window(top, s.KernelH, dh, s.Height, s.PadBottom);
        float* map = a->X + (long)image * s.Height * s.Width * s.LdX;
        float* y = a->Y + (long)item * s.OutWidth * s.LdY;
        for (int j = 0; j < s.OutWidth; j++, y += s.LdY)
        {
            var (c0, c1, paddedColumns) = Window(j * s.StrideW - s.PadLeft, s.KernelW, dw, s.Width, s.PadRight);
            float divisor = s.CountPadding ? paddedRows * paddedColumns : (r1 - r0 + dh - 1) / dh * ((c1 - c0 + dw - 1) / dw);
            int c = 0;
            for (; c + 16 <= s.Channels; c += 16)
            {
                V sum = V.Create(0f);
                for (int r = r0; r < r1; r += dh)
                    for (int q = c0; q < c1; q += dw) sum += V.Load(map + ((long)r * s.Width + q) * s.LdX + c);
                V.Store(sum / V.Create(divisor), y + c);
            }

            for (; c < s.Channels; c++)
            {
                float sum = 0;
                for (int r = r0; r < r1; r += dh)
                    for (int q = c0; q < c1; q += dw) sum += map[((long)r * s.Width + q) * s.LdX + c];
                y[c] = sum / divisor;
            }
        }
    }

    // First tap inside the map, end of the taps inside it, and how many taps are inside the padded map.
    private static (int First, int End, int Padded) Window(int start, int kernel, int dilation, int size, int after)
    {
        int end = Math.Min(start + (kernel - 1) * dilation + 1, size + after);
        int first = start >= 0 ? start : start + (-start + dilation - 1) / dilation * dilation;
        return (first, Math.Max(first, Math.Min(end, size)), (end - start + dilation - 1) / dilation);
    }

    private static void FirRow<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        ref readonly var s = ref a->Shape;
        int image = item / s.OutHeight, top = item % s.OutHeight * a->Down - a->PadBefore;
        float* map = a->X + (long)image * s.Height * s.Width * s.LdX;
        float* y = a->Y + (long)item * s.OutWidth * s.LdY;
        float* scalar = stackalloc float[16];
        for (int j = 0; j < s.OutWidth; j++, y += s.LdY)
        {
            int left = j * a->Down - a->PadBefore;
            for (int c = 0; c < s.Channels; c += 16)
            {
                bool whole = c + 16 <= s.Channels;
                int lanes = Math.Min(16, s.Channels - c);
                V sum = V.Create(0f);
                new Span<float>(scalar, 16).Clear();
                for (int i = FirstTap(top, a->Up), r = (top + i) / a->Up; i < a->TapCount && r < s.Height; i += a->Up, r++)
                {
                    for (int k = FirstTap(left, a->Up), q = (left + k) / a->Up; k < a->TapCount && q < s.Width; k += a->Up, q++)
                    {
                        float weight = a->Taps[a->TapCount - 1 - i] * a->Taps[a->TapCount - 1 - k];
                        float* p = map + ((long)r * s.Width + q) * s.LdX + c;
                        if (whole) sum = V.MultiplyAdd(V.Create(weight), V.Load(p), sum);
                        else for (int l = 0; l < lanes; l++) scalar[l] = MathF.FusedMultiplyAdd(weight, p[l], scalar[l]);
                    }
                }

                if (whole) V.Store(sum, y + c);
                else for (int l = 0; l < lanes; l++) y[c + l] = scalar[l];
            }
        }
    }

    // The first tap that meets a pixel and not an inserted zero or the padding: top + tap is a multiple of up and not negative.
    private static int FirstTap(int top, int up)
    {
        if (top <= 0) return -top;
        int over = top % up;
        return over == 0 ? 0 : up - over;
    }
}
