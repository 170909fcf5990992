// y = x W + bias, with an epilogue.
//
//   x: [M, K], W: [K, N4] packed from the file's [N, K] (N4: N rounded up to 4, zeros beyond N), y: [M, N]
//
// Work split  one thread per 4 rows x 4 columns; neighbouring threads have neighbouring columns, so weights are read side by side and an
//             activation is the same for a whole row of threads.
// Numerics    float sums in order of k, as 16 registers; weights are F32 (F16 and BF16 of a file are widened when uploaded).
// Roofline    2MNK flops; each thread reads 8 floats per 32 flops from cache: bound by loads, far from the arithmetic roof.
// Ladder      v1 this one.  ideas: tiles in shared memory; tensor cores through inline PTX; weights kept in 16 bits.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class LinearKernel
{
    public struct Shape
    {
        public int Rows, Inputs, Outputs;
    }

    /// <summary>Launched with one thread per tile: ceil(M/4) * N4/4. Views of operands that are not there may be any.</summary>
    [GpuKernel]
    public static void Run(
        ArrayView<float> x, ArrayView<Float4> w, ArrayView<float> bias, ArrayView<float> channel, ArrayView<float> residual, ArrayView<float> y, Shape s, Epilogue e)
    {
        int tiles = (s.Outputs + Tiles.ProductColumns - 1) / Tiles.ProductColumns;
        int index = Grid.GlobalIndex.X, tile = index % tiles, row = index / tiles * Tiles.ProductRows;
        if (row >= s.Rows) return;
        // Rows past the end read the last one; their sums are dropped.
        int last = s.Rows - 1;
        int a = row * s.Inputs, b = IntrinsicMath.Min(row + 1, last) * s.Inputs, c = IntrinsicMath.Min(row + 2, last) * s.Inputs, d = IntrinsicMath.Min(row + 3, last) * s.Inputs;
        var t = default(Tile4x4);
        for (int k = 0; k < s.Inputs; k++)
        {
            var weight = w[k * tiles + tile];
            t.A = Float4.MultiplyAdd(x[a + k], weight, t.A);
            t.B = Float4.MultiplyAdd(x[b + k], weight, t.B);
            t.C = Float4.MultiplyAdd(x[c + k], weight, t.C);
            t.D = Float4.MultiplyAdd(x[d + k], weight, t.D);
        }

        Epilogue.Store(e, t, row, tile * Tiles.ProductColumns, s.Rows, s.Outputs, bias, channel, residual, y);
    }
}
