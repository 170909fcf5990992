// Changes of resolution, channels last.
//
//   nearest  y[i, j] = x[floor(i H / OH), floor(j W / OW)]
//   average  mean over a (dilated) window; the divisor counts real pixels, or padded ones too
//   max      largest value of a (dilated) window
//   resize   y[i, j] = sum of weights[i][s] weights[j][t] x[index[i][s], index[j][t]]: any separable filter as a table per axis
//   fir      zeros inserted (Up), padding, correlation with the flipped separable taps, each Down-th sample kept
//   x: [N, H, W, C], y: [N, OH, OW, C]
//
// Work split  one thread per element of y; neighbours have neighbouring channels.
// Numerics    float sums over the window in row-major order.
// Roofline    memory bound but for long taps.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class ResampleKernels
{
    public struct Map
    {
        /// <summary>Elements of y.</summary>
        public int Count;

        public int Height, Width, Channels, OutHeight, OutWidth;
    }

    public struct Window
    {
        public int KernelH, KernelW, StrideH, StrideW, PadTop, PadLeft, PadBottom, PadRight, DilationH, DilationW, CountPadding;
    }

    /// <summary>Image, row, column and channel of an element of y.</summary>
    private struct Place
    {
        public int Image, Row, Column, Channel;
    }

    [GpuKernel]
    public static void Nearest(ArrayView<float> x, ArrayView<float> y, Map m)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= m.Count) return;
        var p = PlaceOf(m, index);
        int row = p.Row * m.Height / m.OutHeight, column = p.Column * m.Width / m.OutWidth;
        y[index] = x[((p.Image * m.Height + row) * m.Width + column) * m.Channels + p.Channel];
    }

    [GpuKernel]
    public static void Average(ArrayView<float> x, ArrayView<float> y, Map m, Window w)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= m.Count) return;
        var p = PlaceOf(m, index);
        int top = p.Row * w.StrideH - w.PadTop, left = p.Column * w.StrideW - w.PadLeft, padded = 0, real = 0;
        float sum = 0f;
        for (int i = 0; i < w.KernelH; i++)
        {
            int r = top + i * w.DilationH;
            for (int j = 0; j < w.KernelW; j++)
            {
                int c = left + j * w.DilationW;
                if (r < m.Height + w.PadBottom && c < m.Width + w.PadRight) padded++;
                if (r < 0 || r >= m.Height || c < 0 || c >= m.Width) continue;
                real++;
                sum += x[((p.Image * m.Height + r) * m.Width + c) * m.Channels + p.Channel];
            }
        }

        y[index] = sum / (w.CountPadding != 0 ? padded : real);
    }

    [GpuKernel]
    public static void Largest(ArrayView<float> x, ArrayView<float> y, Map m, Window w)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= m.Count) return;
        var p = PlaceOf(m, index);
        int top = p.Row * w.StrideH - w.PadTop, left = p.Column * w.StrideW - w.PadLeft;
        float best = float.NegativeInfinity;
        for (int i = 0; i < w.KernelH; i++)
        {
            int r = top + i * w.DilationH;
            for (int j = 0; j < w.KernelW; j++)
            {
                int c = left + j * w.DilationW;
                if (r < 0 || r >= m.Height || c < 0 || c >= m.Width) continue;
                float v = x[((p.Image * m.Height + r) * m.Width + c) * m.Channels + p.Channel];
                if (v > best || FloatMath.IsNaN(v)) best = v;
            }
        }

        y[index] = best;
    }

    /// <param name="rowIndex">[OH][rowTaps] input rows; columns alike.</param>
    [GpuKernel]
    public static void Resize(
        ArrayView<float> x, ArrayView<int> rowIndex, ArrayView<float> rowWeight, ArrayView<int> columnIndex, ArrayView<float> columnWeight, ArrayView<float> y, Map m, int rowTaps, int columnTaps)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= m.Count) return;
        var p = PlaceOf(m, index);
        float sum = 0f;
        for (int s = 0; s < rowTaps; s++)
        {
            int row = (p.Image * m.Height + rowIndex[p.Row * rowTaps + s]) * m.Width;
            float line = 0f;
            for (int t = 0; t < columnTaps; t++)
                line = columnWeight[p.Column * columnTaps + t] * x[(row + columnIndex[p.Column * columnTaps + t]) * m.Channels + p.Channel] + line;
            sum = rowWeight[p.Row * rowTaps + s] * line + sum;
        }

        y[index] = sum;
    }

    [GpuKernel]
    public static void Fir(ArrayView<float> x, ArrayView<float> taps, ArrayView<float> y, Map m, int count, int up, int down, int padBefore)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= m.Count) return;
        var p = PlaceOf(m, index);
        float sum = 0f;
        for (int i = 0; i < count; i++)
        {
            int r = p.Row * down + i - padBefore;
            if (r < 0 || r % up != 0 || r / up >= m.Height) continue;
            for (int j = 0; j < count; j++)
            {
                int c = p.Column * down + j - padBefore;
                if (c < 0 || c % up != 0 || c / up >= m.Width) continue;
                sum = taps[count - 1 - i] * taps[count - 1 - j] * x[((p.Image * m.Height + r / up) * m.Width + c / up) * m.Channels + p.Channel] + sum;
            }
        }

        y[index] = sum;
    }

    private static Place PlaceOf(Map m, int index)
    {
        var p = default(Place);
        p.Channel = index % m.Channels;
        index /= m.Channels;
        p.Column = index % m.OutWidth;
        index /= m.OutWidth;
        p.Row = index % m.OutHeight;
        p.Image = index / m.OutHeight;
        return p;
    }
}
