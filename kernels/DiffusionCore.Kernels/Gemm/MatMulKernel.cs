// y = a b for batches of computed matrices, either one transposed, leading axes broadcast.
//
//   a: [..., M, K], b: [..., K, N], y: [..., M, N]; any strides, up to four leading axes.
//
// Work split  one thread per element of y.
// Numerics    float sums in order of k.
// Roofline    2MNK flops on 2MNK loads from cache: bound by loads. Networks here use it for nothing large.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class MatMulKernel
{
    public struct Shape
    {
        /// <summary>Elements of y.</summary>
        public int Count;

        public int M, N, K;

        /// <summary>Strides in elements: of rows and inner index of a, of inner index and columns of b.</summary>
        public int RowA, InnerA, InnerB, ColumnB;

        /// <summary>Extents and strides of the leading axes, outermost first; 0 strides broadcast.</summary>
        public Strides Lead;
    }

    /// <summary>Launched with one thread per element.</summary>
    [GpuKernel]
    public static void Run(ArrayView<float> a, ArrayView<float> b, ArrayView<float> y, Shape s)
    {
        int index = Grid.GlobalIndex.X;
        if (index >= s.Count) return;
        int column = index % s.N, row = index / s.N % s.M, lead = index / s.N / s.M;
        var offset = Strides.Offsets(s.Lead, lead);
        int at = offset.A + row * s.RowA, bt = offset.B + column * s.ColumnB;
        float sum = 0;
        for (int k = 0; k < s.K; k++) sum = a[at + k * s.InnerA] * b[bt + k * s.InnerB] + sum;
        y[index] = sum;
    }
}
