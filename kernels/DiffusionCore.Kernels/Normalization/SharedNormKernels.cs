// Group normalisation in two halves, for maps that are computed in tiles: statistics of a part, and a normalisation with given statistics.
//
//   moments  m[n, g] = (mean, biased variance) over the channels of a group inside a rectangle.   x: [N, H, W, C], area: [4], m: [N, G, 2]
//   given    y = act( (x - mean)/sqrt(var + eps) * gamma + beta ).                                  x, y: [N, P, C]
//   area = top, bottom, left, right, times a scale, cut to the map and never empty.
//
// Work split  moments: one thread group per (image, channel group); given: one thread per element.
// Numerics    two passes about the first element, as in the whole norm.
// Roofline    memory bound.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class SharedNormKernels
{
    /// <summary>Launched with one group per (image, channel group).</summary>
    [GpuKernel]
    public static void Moments(ArrayView<float> x, ArrayView<float> area, ArrayView<float> y, int height, int width, int channels, int groups, int scale)
    {
        var shared = SharedMemory.Allocate<float>(Tiles.Threads);
        int top = Cut(area[0] * scale, 0, height - 1), left = Cut(area[2] * scale, 0, width - 1);
        int rows = Cut(area[1] * scale, top + 1, height) - top, columns = Cut(area[3] * scale, left + 1, width) - left;
        int group = Grid.IdxX % groups, image = Grid.IdxX / groups, each = channels / groups, count = rows * columns * each;
        int start = ((image * height + top) * width + left) * channels + group * each;
        float reference = x[start], sum = 0f, square = 0f;
        for (int i = Group.IdxX; i < count; i += Group.DimX) sum += x[start + Offset(i, columns, each, width, channels)] - reference;
        float mean = Reduce.Sum(shared, sum) / count;
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            float d = x[start + Offset(i, columns, each, width, channels)] - reference - mean;
            square = d * d + square;
        }

        square = Reduce.Sum(shared, square) / count;
        if (Group.IdxX == 0)
        {
            y[2 * Grid.IdxX] = reference + mean;
            y[2 * Grid.IdxX + 1] = square;
        }
    }

    /// <param name="each">Elements of one image.</param>
    [GpuKernel]
    public static void Given(
        ArrayView<float> x, ArrayView<float> moments, ArrayView<float> gamma, ArrayView<float> beta, ArrayView<float> y, int count, int each, int channels, int groups, int affine, float epsilon,
        int activation)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= count) return;
        int channel = i % channels, m = (i / each * groups + channel / (channels / groups)) * 2;
        float v = (x[i] - moments[m]) / FloatMath.Sqrt(moments[m + 1] + epsilon);
        if (affine != 0) v = v * gamma[channel] + beta[channel];
        y[i] = Function.Activate(activation, v);
    }

    private static int Cut(float v, int least, int most) => v < least ? least : v > most ? most : (int)v;

    private static int Offset(int i, int columns, int each, int width, int channels)
    {
        int pixel = i / each, row = pixel / columns;
        return (row * width + pixel - row * columns) * channels + i - pixel * each;
    }
}
