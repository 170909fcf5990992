// The epilogue on one tile of accumulators, in place while they are in L1, then the only store to the result.
//
//   y[row, first + j] = scale * (act(acc[row, j] + bias[first + j] + channel[image(row), first + j]) + residual[row, first + j]),  j < n
//
// Columns beyond n are computed like the others on padded copies of bias and channel vector, and never stored.
using System.Runtime.CompilerServices;

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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store<V>(
        in Epilogue e, float* acc, int width, int rows, float* y, long ldy, long* pixels, int rowsPerImage, int first, int n, float* bias, float* channel)
        where V : unmanaged, ISimd16<V>
    {
        long padded = -1;
        bool activated = e.Activation != Activation.None;
        for (int r = 0; r < rows; r++)
        {
            float* add = null;
            if (e.ChannelAdd != null)
            {
                long image = pixels[r] / rowsPerImage;
                if (image != padded) Pad(e.ChannelAdd + image * e.ChannelAddPitch + first, n, width, channel);
                padded = image;
                add = channel;
            }

            float* row = acc + r * width, to = y + pixels[r] * ldy + first, residual = e.Residual == null ? null : e.Residual + pixels[r] * e.ResidualPitch + first;
            if (activated)
            {
                Row<V>(row, bias, add, null, 1, width, row);
                Activate<V>(e.Activation, row, width);
                Row<V>(row, null, null, residual, e.Scale, n, to);
            }
            else
            {
                Row<V>(row, bias, add, residual, e.Scale, n, to);
            }
        }
    }

    // The branches are the same for a whole launch: predicted, and small beside the sums that led here.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Row<V>(float* acc, float* bias, float* channel, float* residual, float scale, int n, float* to)
        where V : unmanaged, ISimd16<V>
    {
        int j = 0;
        for (; j + 16 <= n; j += 16)
        {
            V v = V.Load(acc + j);
            if (bias != null) v += V.Load(bias + j);
            if (channel != null) v += V.Load(channel + j);
            if (residual != null) v += V.Load(residual + j);
            if (scale != 1) v *= V.Create(scale);
            V.Store(v, to + j);
        }

        for (; j < n; j++)
        {
            float v = acc[j];
            if (bias != null) v += bias[j];
            if (channel != null) v += channel[j];
            if (residual != null) v += residual[j];
            if (scale != 1) v *= scale;
            to[j] = v;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
