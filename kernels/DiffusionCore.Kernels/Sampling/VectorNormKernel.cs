// Euclidean norms: y[i] = sqrt(sum of x[i, :]^2).   x: [images, n], y: [images]
//
// Work split  one group per image.
// Numerics    float sums per thread, then a tree in shared memory: 1e-6 of the norm.
// Roofline    one read: memory bound. Langevin correctors need it once per step.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class VectorNormKernel
{
    /// <summary>Launched with one group per image.</summary>
    [GpuKernel]
    public static void Run(ArrayView<float> x, ArrayView<float> y, int elements)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int start = Grid.IdxX * elements;
        float sum = 0f;
        for (int i = Group.IdxX; i < elements; i += Group.DimX) sum = x[start + i] * x[start + i] + sum;
        sum = Reduce.Sum(shared, sum);
        if (Group.IdxX == 0) y[Grid.IdxX] = FloatMath.Sqrt(sum);
    }
}
