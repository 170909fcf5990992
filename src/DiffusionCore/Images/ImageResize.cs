using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Images;

/// <summary>How a pixel of a resized image follows from the pixels around its place. Centres of pixels are half a pixel from their edges.</summary>
public enum ResizeFilter
{
    /// <summary>torch's nearest: the pixel at floor(i * input / output), which leans to the upper left.</summary>
    Nearest,

    /// <summary>The pixel whose centre is nearest: torch's nearest-exact, Pillow's nearest.</summary>
    NearestExact,

    /// <summary>torch's bilinear: the two neighbours, whatever the ratio.</summary>
    Bilinear,

    /// <summary>torch's bicubic: four neighbours, Keys's kernel with a = -0.75.</summary>
    Bicubic,

    /// <summary>Bilinear that widens where the image gets smaller: torch's antialias, Pillow's bilinear.</summary>
    BilinearAntialias,

    /// <summary>Keys's kernel with a = -0.5, widened where the image gets smaller: torch's antialias, Pillow's bicubic.</summary>
    BicubicAntialias,

    /// <summary>A sinc in a window of three lobes, widened where the image gets smaller: Pillow's Lanczos.</summary>
    Lanczos,

    /// <summary>Means over the pixels that an output pixel covers: Pillow's box.</summary>
    Box,
}

/// <summary>
/// Resizes images and latents on the host, one axis after the other, with the results of torch's interpolate and of Pillow (which rounds to bytes).
/// <code>
///   y[i] = sum over k of w[i, k] * x[first(i) + k],  w from the filter at the distance of the centres, its sum 1
/// </code>
/// x: [h, w, C], y: [H, W, C]. Numerics: weights and sums in double, each axis rounded to F32. Work: h*W*C*taps, then H*W*C*taps.
/// </summary>
public static class ImageResize
{
    private const double TorchCubic = -0.75, PillowCubic = -0.5;

    /// <param name="source">[height, width, channels].</param>
    /// <returns>[newHeight, newWidth, channels].</returns>
    public static float[] Run(ReadOnlySpan<float> source, int height, int width, int channels, int newHeight, int newWidth, ResizeFilter filter) =>
        Apply(source, height, width, channels, Axis.Whole(width, newWidth, filter), Axis.Whole(height, newHeight, filter));

    /// <summary>
    /// Fills the new size and keeps the proportions: the image is enlarged until it covers both sides, and what overhangs is cut on both ends alike.
    /// </summary>
    public static float[] Cover(ReadOnlySpan<float> source, int height, int width, int channels, int newHeight, int newWidth, ResizeFilter filter)
    {
        var (fullHeight, fullWidth) = Covering(height, width, newHeight, newWidth);
        return Apply(
            source, height, width, channels,
            new Axis(width, fullWidth, (fullWidth - newWidth) / 2, newWidth, filter), new Axis(height, fullHeight, (fullHeight - newHeight) / 2, newHeight, filter));
    }

    // The smallest size of the source's proportions that is nowhere smaller than the new one.
    private static (int Height, int Width) Covering(int height, int width, int newHeight, int newWidth) => (long)newWidth * height >= (long)newHeight * width
        ? (Math.Max(newHeight, (int)Math.Round((double)newWidth * height / width)), newWidth)
        : (newHeight, Math.Max(newWidth, (int)Math.Round((double)newHeight * width / height)));

    private static float[] Apply(ReadOnlySpan<float> source, int height, int width, int channels, Axis across, Axis down)
    {
        if (source.Length != (long)height * width * channels) throw new ArgumentException($"{height}x{width}x{channels} does not go with {source.Length} numbers", nameof(source));
        var rows = new float[(long)height * across.Count * channels];
        var sums = new double[across.Count * channels];
        for (int y = 0; y < height; y++)
        {
            var from = source.Slice(y * width * channels, width * channels);
            var to = rows.AsSpan(y * across.Count * channels, across.Count * channels);
            for (int x = 0; x < across.Count; x++)
            {
                var (first, weights) = across.Taps(x);
                for (int c = 0; c < channels; c++)
                {
                    double sum = 0;
                    for (int k = 0; k < weights.Length; k++) sum += weights[k] * from[across.Clamp(first + k) * channels + c];
                    to[x * channels + c] = (float)sum;
                }
            }
        }

        var result = new float[(long)down.Count * across.Count * channels];
        for (int y = 0; y < down.Count; y++)
        {
            var (first, weights) = down.Taps(y);
            Array.Clear(sums);
            for (int k = 0; k < weights.Length; k++)
            {
                var from = rows.AsSpan(down.Clamp(first + k) * sums.Length, sums.Length);
                for (int i = 0; i < sums.Length; i++) sums[i] += weights[k] * from[i];
            }

            for (int i = 0; i < sums.Length; i++) result[y * sums.Length + i] = (float)sums[i];
        }

        return result;
    }

    /// <summary>Positions offset to offset + count of an axis that goes from input to full pixels.</summary>
    private sealed class Axis
    {
        private readonly int input;
        private readonly int[] first;
        private readonly double[][] weights;

        public Axis(int input, int full, int offset, int count, ResizeFilter filter)
        {
            (this.input, Count) = (input, count);
            (first, weights) = (new int[count], new double[count][]);
            double ratio = (double)input / full;
            for (int i = 0; i < count; i++)
            {
                int at = offset + i;
                switch (filter)
                {
                    case ResizeFilter.Nearest:
                        Single(i, Math.Floor(at * (double)((float)input / full)));
                        break;
                    case ResizeFilter.NearestExact:
                        Single(i, Math.Floor((at + 0.5) * ratio));
                        break;
                    case ResizeFilter.Bilinear:
                        Neighbours(i, Math.Max(0, (at + 0.5) * ratio - 0.5), 2, d => 1 - d);
                        break;
                    case ResizeFilter.Bicubic:
                        Neighbours(i, (at + 0.5) * ratio - 0.5, 4, d => Cubic(d, TorchCubic));
                        break;
                    default:
                        Widened(i, (at + 0.5) * ratio, Math.Max(1, ratio), filter);
                        break;
                }
            }
        }

        public int Count { get; }

        public static Axis Whole(int input, int output, ResizeFilter filter) => new(input, output, 0, output, filter);

        public (int First, double[] Weights) Taps(int i) => (first[i], weights[i]);

        public int Clamp(int i) => Math.Clamp(i, 0, input - 1);

        private void Single(int i, double at) => (first[i], weights[i]) = ((int)at, [1]);

        // The pixels around a place, edges repeated.
        private void Neighbours(int i, double at, int taps, Func<double, double> kernel)
        {
            int start = (int)Math.Floor(at) - (taps / 2) + 1;
            (first[i], weights[i]) = (start, new double[taps]);
            for (int k = 0; k < taps; k++) weights[i][k] = kernel(Math.Abs(start + k - at));
        }

        // The kernel over the pixels that are there, its weights scaled to the sum 1.
        private void Widened(int i, double centre, double scale, ResizeFilter filter)
        {
            double support = scale * (filter switch { ResizeFilter.Box => 0.5, ResizeFilter.BilinearAntialias => 1, ResizeFilter.BicubicAntialias => 2, _ => 3 });
            int start = Math.Max(0, (int)(centre - support + 0.5)), end = Math.Min(input, (int)(centre + support + 0.5));
            var w = new double[end - start];
            double sum = 0;
            for (int k = 0; k < w.Length; k++) sum += w[k] = Kernel((start + k - centre + 0.5) / scale, filter);
            for (int k = 0; k < w.Length; k++) w[k] /= sum;
            (first[i], weights[i]) = (start, w);
        }

        private static double Kernel(double x, ResizeFilter filter)
        {
            double d = Math.Abs(x);
            return filter switch
            {
                ResizeFilter.Box => x is > -0.5 and <= 0.5 ? 1 : 0,
                ResizeFilter.BilinearAntialias => Math.Max(0, 1 - d),
                ResizeFilter.BicubicAntialias => Cubic(d, PillowCubic),
                _ => d < 3 ? Sinc(d) * Sinc(d / 3) : 0,
            };
        }

        // sin(pi x) / (pi x)
        private static double Sinc(double x) => x == 0 ? 1 : DoubleMath.SinCos(Math.PI * x).Sin / (Math.PI * x);

        private static double Cubic(double d, double a) => d < 1 ? ((((a + 2) * d) - (a + 3)) * d * d) + 1 : d < 2 ? ((((d - 5) * d) + 8) * d - 4) * a : 0;
    }
}
