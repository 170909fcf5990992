// Normalisations and softmax, one group of threads per set of numbers.
//
//   group norm  y = act( ((x - mu)/sqrt(var + eps) * gamma + beta) * (1 + scale) + shift );  mu, var over one group of channels of one image
//               x, y: [N, P, C]; gamma, beta: [C]; scale, shift: [N, C]
//   layer norm  y = (x - mu)/sqrt(var + eps) * gamma + beta over rows.   x, y: [rows, C]
//   rms norm    y = x/sqrt(mean(x^2) + eps) * gamma over rows; outside: x/(sqrt(mean(x^2)) + eps)
//   softmax     y = e^(x - max) / sum e^(x - max) over rows; a row of -infinity alone gives zeros
//
// Work split  one thread group per (image, channel group) or per row; its threads stride over the elements.
// Numerics    sums in float per thread, then a tree in shared memory. Two passes, because E[x^2] - mu^2 cancels when |mu| >> sigma; both about the
//             first element K, and x - mu is computed as (x - K) - (mu - K), so that a large common offset costs no digits.
// Roofline    3 reads and a write per element: memory bound.
// Ladder      v1 this one.  idea: keep the set in shared memory, read once.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class NormKernels
{
    public struct GroupShape
    {
        public int Pixels, Channels, Groups;

        /// <summary>1 where the operands are there.</summary>
        public int Affine, Modulated;

        /// <summary>A <see cref="Function"/> that may stand in an epilogue.</summary>
        public int Activation;

        public float Epsilon;
    }

    /// <summary>Launched with one group per (image, channel group).</summary>
    [GpuKernel]
    public static void GroupNorm(
        ArrayView<float> x, ArrayView<float> gamma, ArrayView<float> beta, ArrayView<float> scale, ArrayView<float> shift, ArrayView<float> y, GroupShape s)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int group = Grid.IdxX % s.Groups, image = Grid.IdxX / s.Groups, width = s.Channels / s.Groups, count = s.Pixels * width;
        int start = image * s.Pixels * s.Channels + group * width;
        float reference = x[start], sum = 0f, square = 0f;
        for (int i = Group.IdxX; i < count; i += Group.DimX) sum += x[start + i / width * s.Channels + i % width] - reference;
        float mean = Reduce.Sum(shared, sum) / count;
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            float d = x[start + i / width * s.Channels + i % width] - reference - mean;
            square = d * d + square;
        }

        float inverse = 1f / FloatMath.Sqrt(Reduce.Sum(shared, square) / count + s.Epsilon);
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            int channel = group * width + i % width, at = start + i / width * s.Channels + i % width;
            float v = (x[at] - reference - mean) * inverse;
            if (s.Affine != 0) v = v * gamma[channel] + beta[channel];
            if (s.Modulated != 0) v = v * (1f + scale[image * s.Channels + channel]) + shift[image * s.Channels + channel];
            y[at] = Function.Activate(s.Activation, v);
        }
    }

    /// <summary>Launched with one group per row.</summary>
    [GpuKernel]
    public static void LayerNorm(ArrayView<float> x, ArrayView<float> gamma, ArrayView<float> beta, ArrayView<float> y, int channels, int affine, float epsilon)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int start = Grid.IdxX * channels;
        float reference = x[start], sum = 0f, square = 0f;
        for (int i = Group.IdxX; i < channels; i += Group.DimX) sum += x[start + i] - reference;
        float mean = Reduce.Sum(shared, sum) / channels;
        for (int i = Group.IdxX; i < channels; i += Group.DimX)
        {
            float d = x[start + i] - reference - mean;
            square = d * d + square;
        }

        float inverse = 1f / FloatMath.Sqrt(Reduce.Sum(shared, square) / channels + epsilon);
        for (int i = Group.IdxX; i < channels; i += Group.DimX)
        {
            float v = (x[start + i] - reference - mean) * inverse;
            y[start + i] = affine != 0 ? v * gamma[i] + beta[i] : v;
        }
    }

    /// <summary>Launched with one group per row.</summary>
    [GpuKernel]
    public static void RmsNorm(ArrayView<float> x, ArrayView<float> gamma, ArrayView<float> y, int channels, int affine, float epsilon, int outside)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int start = Grid.IdxX * channels;
        float square = 0f;
        for (int i = Group.IdxX; i < channels; i += Group.DimX) square = x[start + i] * x[start + i] + square;
        float mean = Reduce.Sum(shared, square) / channels;
        float inverse = outside != 0 ? 1f / (FloatMath.Sqrt(mean) + epsilon) : 1f / FloatMath.Sqrt(mean + epsilon);
        for (int i = Group.IdxX; i < channels; i += Group.DimX) y[start + i] = affine != 0 ? x[start + i] * inverse * gamma[i] : x[start + i] * inverse;
    }

    /// <summary>Launched with one group per row.</summary>
    [GpuKernel]
    public static void Softmax(ArrayView<float> x, ArrayView<float> y, int channels)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int start = Grid.IdxX * channels;
        float top = float.NegativeInfinity, sum = 0f;
        for (int i = Group.IdxX; i < channels; i += Group.DimX) top = x[start + i] > top ? x[start + i] : top;
        top = Reduce.Max(shared, top);
        for (int i = Group.IdxX; i < channels; i += Group.DimX)
        {
            float p = top > float.NegativeInfinity ? FloatMath.Exp(x[start + i] - top) : 0f;
            y[start + i] = p;
            sum += p;
        }

        float total = Reduce.Sum(shared, sum);
        if (total == 0f) total = 1f;
        for (int i = Group.IdxX; i < channels; i += Group.DimX) y[start + i] /= total;
    }
}
