using System.Runtime.CompilerServices;
using ILGPU;

namespace DiffusionCore.Kernels;

/// <summary>
/// Reductions over a group by a tree in shared memory: the order depends on the group's size alone. Every thread of the group must call, and gets the
/// result. On OpenCL ILGPU writes its barriers with the flag for global memory alone; devices seen so far order shared memory there too. The kernel allocates the array, because an allocation in an inlined helper would be made once per call.
/// </summary>
public static class Reduce
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(ArrayView<float> shared, float value)
    {
        int t = Group.IdxX;
        shared[t] = value;
        Group.Barrier();
        for (int width = Group.DimX / 2; width > 0; width /= 2)
        {
            if (t < width) shared[t] += shared[t + width];
            Group.Barrier();
        }

        float total = shared[0];
        Group.Barrier();
        return total;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Max(ArrayView<float> shared, float value)
    {
        int t = Group.IdxX;
        shared[t] = value;
        Group.Barrier();
        for (int width = Group.DimX / 2; width > 0; width /= 2)
        {
            if (t < width)
            {
                float a = shared[t], b = shared[t + width];
                shared[t] = a > b ? a : b;
            }

            Group.Barrier();
        }

        float top = shared[0];
        Group.Barrier();
        return top;
    }
}
