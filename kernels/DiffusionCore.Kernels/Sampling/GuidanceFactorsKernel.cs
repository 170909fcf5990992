// The numbers of an image that guidance needs before the update.
//
//   rescaled    m = u + g (c - u) + q (c - p);   f = share*std(c)/std(m) + 1 - share                      (Lin et al. 2024, equations 15 and 16)
//   projected   d = B0 (c - u) + mu r,  D = A0 x + B0 c;   k = min(1, threshold/|d|),  t = (d.D)/(D.D)
//               a = 1 + (g - 1) k (parallel - 1) t,  b = (g - 1) k                                         (Sadat et al. 2025, algorithm 1)
//   x, c, u, p, r: [images][elements];  numbers: two per image, behind r where there is one
//
// Work split  one group per image.
// Numerics    float sums per thread, then a tree in shared memory: 1e-6. Means first, then deviations from them: the square of a mean would cancel.
// Roofline    two reads of c, u [and p], or one of c, u, x [and r]: memory bound, and only where such guidance is on.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class GuidanceFactorsKernel
{
    public struct Options
    {
        /// <summary>Share of the rescaled prediction.</summary>
        public float Rescale;

        /// <summary>Largest norm of the difference, 0 for none; share of its part along the estimate.</summary>
        public float Threshold, Parallel;
    }

    /// <summary>Launched with one group per image; guided updates only.</summary>
    [GpuKernel]
    public static void Run(ArrayView<float> sample, ArrayView<float> model, ArrayView<float> numbers, SamplerStepKernel.Arguments a, Options options)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int start = Grid.IdxX * a.Elements, place = a.NumbersAt + a.FactorsAt + Grid.IdxX * 2;
        float first = 0f, second = 0f;
        if (a.Factors == 1)
        {
            for (int i = Group.IdxX; i < a.Elements; i += Group.DimX)
            {
                first += Conditional(model, a, start + i);
                second += Guided(model, a, start + i);
            }

            float mean = Reduce.Sum(shared, first) / a.Elements, guidedMean = Reduce.Sum(shared, second) / a.Elements;
            first = 0f;
            second = 0f;
            for (int i = Group.IdxX; i < a.Elements; i += Group.DimX)
            {
                float c = Conditional(model, a, start + i) - mean, m = Guided(model, a, start + i) - guidedMean;
                first = c * c + first;
                second = m * m + second;
            }

            first = Reduce.Sum(shared, first);
            second = Reduce.Sum(shared, second);
            if (Group.IdxX != 0) return;
            numbers[place] = second > 0f ? options.Rescale * FloatMath.Sqrt(first / second) + 1f - options.Rescale : 1f;
            numbers[place + 1] = 0f;
            return;
        }

        float third = 0f;
        for (int i = Group.IdxX; i < a.Elements; i += Group.DimX)
        {
            float c = Conditional(model, a, start + i), d = a.B0 * (c - model[Place(a, start + i)]), estimate = a.A0 * sample[start + i] + a.B0 * c;
            if (a.HasRunning != 0) d = a.Momentum * numbers[start + i] + d;
            first = d * d + first;
            second = d * estimate + second;
            third = estimate * estimate + third;
        }

        first = Reduce.Sum(shared, first);
        second = Reduce.Sum(shared, second);
        third = Reduce.Sum(shared, third);
        if (Group.IdxX != 0) return;
        float norm = FloatMath.Sqrt(first), shrink = options.Threshold > 0f && norm > options.Threshold ? options.Threshold / norm : 1f;
        float along = third > 0f ? second / third : 0f;
        numbers[place] = 1f + (a.Guidance - 1f) * shrink * (options.Parallel - 1f) * along;
        numbers[place + 1] = (a.Guidance - 1f) * shrink;
    }

    private static int Place(SamplerStepKernel.Arguments a, int i) => a.VarianceChannels != 0 ? i / a.VarianceChannels * 2 * a.VarianceChannels + i % a.VarianceChannels : i;

    private static float Conditional(ArrayView<float> model, SamplerStepKernel.Arguments a, int i) => model[a.Conditional + Place(a, i)];

    private static float Guided(ArrayView<float> model, SamplerStepKernel.Arguments a, int i)
    {
        int at = Place(a, i);
        float u = model[at], c = model[a.Conditional + at], m = a.Guidance * (c - u) + u;
        if (a.HasPerturbed != 0) m = a.PerturbedScale * (c - model[a.Perturbed + at]) + m;
        return m;
    }
}
