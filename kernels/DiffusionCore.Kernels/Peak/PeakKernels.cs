// What a device can do at best: the roofs.
//
//   multiply-add  8 chains per thread of a = a*m + c in registers, nothing read: 16 flops per thread and round; for a CPU 64 chains in a local array,
//                 which its compiler turns into vectors: 128 flops
//   read          sums of four floats at a time, one number written per thread
//   copy          y = x, four floats at a time
//
// Work split  read and copy: thread t takes elements t*first, t*first + step, ...: side by side for a GPU (first 1, step the number of threads), a run of
//             its own for a CPU (first the length of a run, step 1).
// Numerics    m and c come from the host, so that no compiler can fold the chains; they stay near 1.
using System.Runtime.CompilerServices;
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

    [GpuKernel]
    public static void MultiplyAddRun(ArrayView<float> y, int rounds, float m, float c)
    {
        var a = LocalMemory.Allocate<float>(Tiles.PeakRun);
        for (int j = 0; j < Tiles.PeakRun; j++) a[j] = Group.IdxX + j;
        for (int i = 0; i < rounds; i++)
            for (int j = 0; j < Tiles.PeakRun; j++) a[j] = a[j] * m + c;
        float sum = 0f;
        for (int j = 0; j < Tiles.PeakRun; j++) sum += a[j];
        y[Grid.GlobalIndex.X] = sum;
    }

    /// <param name="rounds">Elements that a thread takes.</param>
    [GpuKernel]
    public static void Read(ArrayView<Float4> x, ArrayView<float> y, int rounds, int first, int step)
    {
        float sum = 0f;
        int at = Grid.GlobalIndex.X * first;
        for (int i = 0; i < rounds; i++) sum += Sum(x[at + i * step]);
        y[Grid.GlobalIndex.X] = sum;
    }

    [GpuKernel]
    public static void Copy(ArrayView<Float4> x, ArrayView<Float4> y, int rounds, int first, int step)
    {
        int at = Grid.GlobalIndex.X * first;
        for (int i = 0; i < rounds; i++) y[at + i * step] = x[at + i * step];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sum(Float4 v) => v.X + v.Y + (v.Z + v.W);
}
