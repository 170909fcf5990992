// The q-quantile of |x| per image: the threshold of dynamic thresholding (Saharia et al. 2022).
//
//   with v sorted |x| and p = q (n - 1):  y = v[floor p] + (p - floor p) (v[floor p + 1] - v[floor p]).   x: [images, n], y: [images]
//
// Work split  one image per item.
// Numerics    selection, not sorting: the bits of non-negative floats order as unsigned integers, so three histograms (11, 11 and 9
//             bits) find the element exactly. Interpolation in double, rounded once. NaN counts as larger than infinity.
// Roofline    at most four reads of the image: memory bound, or bound by histogram increments in cache.
namespace DiffusionCore.Kernels.Host;

/// <summary>Exact quantile of absolute values.</summary>
public static unsafe class AbsQuantile
{
    /// <param name="ratio">q in [0, 1].</param>
    /// <param name="elements">n, at least 1.</param>
    public static void Run(WorkerPool pool, float* x, int images, long elements, double ratio, float* y)
    {
        var a = new Arguments { X = x, Y = y, Elements = elements, Ratio = ratio };
        pool.For(images, &Image, &a);
    }

    private struct Arguments
    {
        public float* X, Y;
        public long Elements;
        public double Ratio;
    }

    private static void Image(void* state, int image, int worker)
    {
        var a = (Arguments*)state;
        long n = a->Elements;
        uint* x = (uint*)(a->X + image * n);
        double at = a->Ratio * (n - 1);
        long below = (long)at, rank = below;
        long* counts = stackalloc long[2048];
        uint prefix = 0, mask = 0;
        foreach (var (shift, width) in stackalloc[] { (20, 11), (9, 11), (0, 9) })
        {
            new Span<long>(counts, 2048).Clear();
            uint digits = (1u << width) - 1;
            for (long i = 0; i < n; i++)
            {
                uint bits = x[i] & 0x7FFFFFFF;
                if ((bits & mask) == prefix) counts[(bits >> shift) & digits]++;
            }

            uint digit = 0;
            while (rank >= counts[digit]) rank -= counts[digit++];
            prefix |= digit << shift;
            mask |= digits << shift;
            if (shift == 0) rank -= counts[digit];
        }

        float low = BitConverter.UInt32BitsToSingle(prefix), high = low;
        if (rank == -1 && below + 1 < n)               // the element found is the last of its value: the next one is larger
        {
            uint next = uint.MaxValue;
            for (long i = 0; i < n; i++)
            {
                uint bits = x[i] & 0x7FFFFFFF;
                if (bits > prefix && bits < next) next = bits;
            }

            high = BitConverter.UInt32BitsToSingle(next);
        }

        double part = at - below;
        a->Y[image] = part == 0 ? low : (float)(low + part * ((double)high - low));
    }
}
