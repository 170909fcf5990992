// 2-D convolution, channels last, with an epilogue.
//
//   y[n, i, j, o] = sum over taps (r, s) and channels c of x[n, i*sh - pt + r*dh, j*sw - pl + s*dw, c] W[r, s, c, o]
//   x: [N, H, W, C], W: [kh*kw][C][O4] packed from the file's [O, C, kh, kw] (O4: O rounded up to 4), y: [N, OH, OW, O]
//
// Work split  direct: one thread per 4 pixels x 4 output channels; neighbouring threads have neighbouring channels. grouped: one per element.
// Numerics    float sums, tap by tap and channel by channel; a tap outside the map adds nothing. Weights are F32.
// Roofline    2 N OH OW O C kh kw flops; 8 loads from cache per 32 flops: bound by loads.
// Ladder      v1 this one.  ideas: tiles of x in shared memory; implicit matrix product on tensor cores.
using System.Runtime.CompilerServices;
using ILGPU;

namespace DiffusionCore.Kernels;

public static class ConvolutionKernels
{
    public struct Shape
    {
        /// <summary>Pixels of y over all images.</summary>
        public int Pixels;

        public int Height, Width, Channels, OutHeight, OutWidth, Outputs, KernelH, KernelW, StrideH, StrideW, PadTop, PadLeft, DilationH, DilationW, Groups;
    }

    /// <summary>Where the window of a pixel of y begins.</summary>
    private struct Corner
    {
        /// <summary>Offset of the image in x; -1 for no pixel.</summary>
        public int Image;

        public int Row, Column;
    }

    /// <summary>Launched with one thread per tile: ceil(pixels/4) * O4/4. Views of operands that are not there may be any.</summary>
    [GpuKernel]
    public static void Direct(
        ArrayView<float> x, ArrayView<Float4> w, ArrayView<float> bias, ArrayView<float> channel, ArrayView<float> residual, ArrayView<float> y, Shape s, Epilogue e)
    {
        int tiles = (s.Outputs + Tiles.ProductColumns - 1) / Tiles.ProductColumns;
        int index = Grid.GlobalIndex.X, tile = index % tiles, pixel = index / tiles * Tiles.ProductRows;
        if (pixel >= s.Pixels) return;
        Corner a = CornerOf(s, pixel), b = CornerOf(s, pixel + 1), c = CornerOf(s, pixel + 2), d = CornerOf(s, pixel + 3);
        var t = default(Tile4x4);
        int weight = tile;
        for (int r = 0; r < s.KernelH; r++)
        {
            for (int q = 0; q < s.KernelW; q++)
            {
                int pa = At(s, a, r, q), pb = At(s, b, r, q), pc = At(s, c, r, q), pd = At(s, d, r, q);
                for (int k = 0; k < s.Channels; k++)
                {
                    var v = w[weight];
                    weight += tiles;
                    t.A = Float4.MultiplyAdd(pa < 0 ? 0f : x[pa + k], v, t.A);
                    t.B = Float4.MultiplyAdd(pb < 0 ? 0f : x[pb + k], v, t.B);
                    t.C = Float4.MultiplyAdd(pc < 0 ? 0f : x[pc + k], v, t.C);
                    t.D = Float4.MultiplyAdd(pd < 0 ? 0f : x[pd + k], v, t.D);
                }
            }
        }

        Epilogue.Store(e, t, pixel, tile * Tiles.ProductColumns, s.Pixels, s.Outputs, bias, channel, residual, y);
    }

    /// <summary>Channels in groups: W holds C/Groups channels per output. Launched with one thread per element of y.</summary>
    [GpuKernel]
    public static void Grouped(
        ArrayView<float> x, ArrayView<float> w, ArrayView<float> bias, ArrayView<float> channel, ArrayView<float> residual, ArrayView<float> y, Shape s, Epilogue e)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= s.Pixels * s.Outputs) return;
        int output = index % s.Outputs, pixel = index / s.Outputs;
        int packed = (s.Outputs + Tiles.ProductColumns - 1) / Tiles.ProductColumns * Tiles.ProductColumns;
        int inputs = s.Channels / s.Groups, first = output / (s.Outputs / s.Groups) * inputs;
        var corner = CornerOf(s, pixel);
        float sum = 0;
        for (int r = 0; r < s.KernelH; r++)
        {
            for (int q = 0; q < s.KernelW; q++)
            {
                int at = At(s, corner, r, q);
                if (at < 0) continue;
                int weight = (r * s.KernelW + q) * inputs * packed + output;
                for (int k = 0; k < inputs; k++) sum = x[at + first + k] * w[weight + k * packed] + sum;
            }
        }

        y[index] = Epilogue.Finish(e, sum, pixel, output, s.Outputs, bias, channel, residual);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Corner CornerOf(Shape s, int pixel)
    {
        int area = s.OutHeight * s.OutWidth, image = pixel / area, rest = pixel - image * area, row = rest / s.OutWidth;
        var c = default(Corner);
        c.Image = pixel < s.Pixels ? image * s.Height * s.Width * s.Channels : -1;
        c.Row = row * s.StrideH - s.PadTop;
        c.Column = (rest - row * s.OutWidth) * s.StrideW - s.PadLeft;
        return c;
    }

    /// <summary>Offset of the first channel under a tap, or -1 outside the map.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int At(Shape s, Corner c, int r, int q)
    {
        int row = c.Row + r * s.DilationH, column = c.Column + q * s.DilationW;
        bool inside = c.Image >= 0 && row >= 0 && row < s.Height && column >= 0 && column < s.Width;
        return inside ? c.Image + (row * s.Width + column) * s.Channels : -1;
    }
}
