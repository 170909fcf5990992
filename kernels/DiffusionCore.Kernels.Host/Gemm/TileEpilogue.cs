// The epilogue on one tile of accumulators, in place while they are in L1, then the only store to the result.
//
//   y[row, first + j] = scale * (act(acc[row, j] + bias[first + j] + channel[image(row), first + j]) + residual[row, first + j]),  j < n
//
// Columns beyond n are computed like the others on padded copies of bias and channel vector, and never stored.
namespace DiffusionCore.Kernels.Host;

internal static unsafe class TileEpilogue
{
    /// <summary>Floats of scratch: a padded bias and a padded channel vector of one panel.</summary>
    public const int PadFloats = 2 * MicroKernel.MaximumWidth;

    /// <summary>The valid columns of a vector, zeros behind them.</summary>
    public static void Pad(float* src, int n, int width, float* dst)
    {
        for (int j = 0; j < n; j++) dst[j] = src[j];
        for (int j = n; j < width; j++) dst[j] = 0;
    }

    /// <param name="pixels">For each row of the tile its row in the result.</param>
    /// <param name="bias">Padded bias of the panel, or null.</param>
    /// <param name="channel">Scratch for a padded channel vector.</param>
    public static void Store<V>(
        in Epilogue e, float* acc, int width, int rows, float* y, long ldy, long* pixels, int rowsPerImage, int first, int n, float* bias, float* channel)
        where V : unmanaged, ISimd16<V>
    {
        if (bias != null)
        {
            for (int r = 0; r < rows; r++) Add<V>(acc + r * width, bias, width);
        }

        if (e.ChannelAdd != null)
        {
            long padded = -1;
            for (int r = 0; r < rows; r++)
            {
                long image = pixels[r] / rowsPerImage;
                if (image != padded) Pad(e.ChannelAdd + image * e.ChannelAddPitch + first, n, width, channel);
                padded = image;
                Add<V>(acc + r * width, channel, width);
            }
        }

        if (e.Activation != Activation.None) Activate<V>(e.Activation, acc, rows * width);

        int whole = n / 16 * 16;
        V scale = V.Create(e.Scale);
        for (int r = 0; r < rows; r++, acc += width)
        {
            float* to = y + pixels[r] * ldy + first;
            if (e.Residual == null)
            {
                if (e.Scale == 1)
                {
                    for (int j = 0; j < whole; j += 16) V.Store(V.Load(acc + j), to + j);
                    for (int j = whole; j < n; j++) to[j] = acc[j];
                }
                else
                {
                    for (int j = 0; j < whole; j += 16) V.Store(V.Load(acc + j) * scale, to + j);
                    for (int j = whole; j < n; j++) to[j] = acc[j] * e.Scale;
                }
            }
            else
            {
                // Multiplying by 1 changes no bit, so one loop serves both.
                float* residual = e.Residual + pixels[r] * e.ResidualPitch + first;
                for (int j = 0; j < whole; j += 16) V.Store((V.Load(acc + j) + V.Load(residual + j)) * scale, to + j);
                for (int j = whole; j < n; j++) to[j] = (acc[j] + residual[j]) * e.Scale;
            }
        }
    }

    private static void Add<V>(float* acc, float* vector, int width)
        where V : unmanaged, ISimd16<V>
    {
        for (int j = 0; j < width; j += 16) V.Store(V.Load(acc + j) + V.Load(vector + j), acc + j);
    }

    private static void Activate<V>(Activation activation, float* p, int n)
        where V : unmanaged, ISimd16<V>
    {
        switch (activation)
        {
            case Activation.Silu:
                for (int i = 0; i < n; i += 16) V.Store(VectorMath.Silu(V.Load(p + i)), p + i);
                break;
            case Activation.Gelu:
                for (int i = 0; i < n; i += 16) V.Store(VectorMath.Gelu(V.Load(p + i)), p + i);
                break;
            case Activation.QuickGelu:
                for (int i = 0; i < n; i += 16) V.Store(VectorMath.QuickGelu(V.Load(p + i)), p + i);
                break;
            default:
                for (int i = 0; i < n; i += 16) V.Store(VectorMath.Apply(activation, V.Load(p + i)), p + i);
                break;
        }
    }
}
