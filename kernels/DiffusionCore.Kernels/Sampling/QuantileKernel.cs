// The threshold of dynamic thresholding (Saharia et al. 2022): a quantile of |x| per image, bounded.
//
//   with v sorted |x| and p = q (n - 1):  s = v[floor p] + (p - floor p) (v[floor p + 1] - v[floor p]);  y = min(max(s, 1), maximum)
//   x: [images, n], y: [images]
//
// Work split  one group per image.
// Numerics    selection, not sorting: the bits of non-negative floats order as unsigned integers, so the element is found exactly, bit by bit
//             from the top, each by counting the elements below a candidate. Counts are floats: exact, because a latent has
//             fewer than 2^24 elements.
// Roofline    33 reads of the image, from cache where it fits: once per step, and only where thresholding is on.
// Ladder      v1 this one.  idea: histograms of 11 bits, three reads.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class QuantileKernel
{
    /// <summary>The most elements that counting in floats allows.</summary>
    public const int MaximumElements = 1 << 24;

    /// <param name="below">floor p.</param>
    /// <param name="part">p - floor p.</param>
    [GpuKernel]
    public static void Run(ArrayView<float> x, ArrayView<float> y, int elements, int below, float part, float maximum)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int start = Grid.IdxX * elements;
        uint found = 0u;
        for (int bit = 30; bit >= 0; bit--)
        {
            uint candidate = found | (1u << bit);
            float smaller = 0f;
            for (int i = Group.IdxX; i < elements; i += Group.DimX)
                if ((Interop.FloatAsInt(x[start + i]) & 0x7FFFFFFFu) < candidate) smaller += 1f;
            // Every thread adds all counts: no tree inside the loop, as in the attention kernel.
            shared[Group.IdxX] = smaller;
            Group.Barrier();
            float total = 0f;
            for (int j = 0; j < Group.DimX; j++) total += shared[j];
            Group.Barrier();
            if (total <= below) found = candidate;
        }

        // The next element is the same where enough are not larger, else the least larger one.
        float count = 0f, least = float.PositiveInfinity;
        float low = Interop.IntAsFloat(found);
        for (int i = Group.IdxX; i < elements; i += Group.DimX)
        {
            float v = Interop.IntAsFloat(Interop.FloatAsInt(x[start + i]) & 0x7FFFFFFFu);
            if (v <= low) count += 1f;
            else if (v < least) least = v;
        }

        count = Reduce.Sum(shared, count);
        least = -Reduce.Max(shared, -least);
        float high = count > below + 1 || below + 1 >= elements ? low : least;
        float s = part == 0f ? low : low + part * (high - low);
        if (s < 1f) s = 1f;
        if (s > maximum) s = maximum;
        if (Group.IdxX == 0) y[Grid.IdxX] = s;
    }
}
