// What a device can do at best: the roofs.
//
//   multiply-add  8 chains per thread of a = a*m + c, nothing read: 16 flops per thread and round
//   read          sums of four floats at a time, one number written per thread
//   copy          y = x, four floats at a time
//
// Numerics    m and c come from the host, so that no compiler can fold the chains; they stay near 1.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class PeakKernels
{
    [GpuKernel]
    public static void MultiplyAdd(ArrayView<float> y, int rounds, float m, float c)
    {
        float a0 = Group.IdxX, a1 = a0 + 1f, a2 = a0 + 2f, a3 = a0 + 3f, a4 = a0 + 4f, a5 = a0 + 5f, a6 = a0 + 6f, a7 = a0 + 7f;
        for (int i = 0; i < rounds; i++)
        {
            a0 = a0 * m + c;
            a1 = a1 * m + c;
            a2 = a2 * m + c;
            a3 = a3 * m + c;
            a4 = a4 * m + c;
            a5 = a5 * m + c;
            a6 = a6 * m + c;
            a7 = a7 * m + c;
        }

        y[Grid.GlobalIndex.X] = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
    }

    /// <param name="count">Elements of x; threads stride over it.</param>
    [GpuKernel]
    public static void Read(ArrayView<Float4> x, ArrayView<float> y, int count)
    {
        float sum = 0f;
        int step = Grid.DimX * Group.DimX;
        for (int i = Grid.GlobalIndex.X; i < count; i += step)
        {
            var v = x[i];
            sum += v.X + v.Y + (v.Z + v.W);
        }

        y[Grid.GlobalIndex.X] = sum;
    }

    [GpuKernel]
    public static void Copy(ArrayView<Float4> x, ArrayView<Float4> y, int count)
    {
        int step = Grid.DimX * Group.DimX;
        for (int i = Grid.GlobalIndex.X; i < count; i += step) y[i] = x[i];
    }
}
