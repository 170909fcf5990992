// One level of the Haar wavelet transform, channels last, and its inverse.
//
//   a b    LL = (a+b+c+d)/2   LH = (a-b+c-d)/2   HL = (a+b-c-d)/2   HH = (a-b-c+d)/2
//   c d    a, b, c, d of the inverse by the same signs: the matrix is its own inverse.
//   x: [N, 2H, 2W, C], y: [N, H, W, 4C], bands in the order LL, LH, HL, HH.
//
// Work split  rows of y.
// Numerics    sums by pairs; halving is exact, so that whole numbers below 2^22 come back as they were, and others within a rounding or two.
// Roofline    8 bytes moved per number and one addition each way: memory bound.
namespace DiffusionCore.Kernels.Host;

/// <summary>The Haar transform.</summary>
public static unsafe class HaarKernel
{
    /// <param name="height">Of the bands.</param>
    public static void Forward(WorkerPool pool, float* x, float* y, int images, int height, int width, int channels) => Run(pool, x, y, images, height, width, channels, inverse: false);

    public static void Inverse(WorkerPool pool, float* x, float* y, int images, int height, int width, int channels) => Run(pool, y, x, images, height, width, channels, inverse: true);

    private static void Run(WorkerPool pool, float* map, float* bands, int images, int height, int width, int channels, bool inverse)
    {
        var s = new Arguments { Map = map, Bands = bands, Width = width, Channels = channels, Inverse = inverse };
        pool.For(images * height, &Row, &s);
    }

    private struct Arguments
    {
        public float* Map, Bands;
        public int Width, Channels;
        public bool Inverse;
    }

    private static void Row(void* state, int item, int worker)
    {
        var s = (Arguments*)state;
        int channels = s->Channels;
        long across = 2L * s->Width * channels;
        float* top = s->Map + item * 2 * across, band = s->Bands + (long)item * s->Width * 4 * channels;
        for (int j = 0; j < s->Width; j++, top += 2 * channels, band += 4 * channels)
        {
            float* left = top, right = top + channels;
            for (int c = 0; c < channels; c++)
            {
                if (s->Inverse)
                {
                    float ll = band[c], lh = band[channels + c], hl = band[2 * channels + c], hh = band[3 * channels + c];
                    Mix(ll, lh, hl, hh, out left[c], out right[c], out left[across + c], out right[across + c]);
                }
                else
                {
                    Mix(left[c], right[c], left[across + c], right[across + c], out band[c], out band[channels + c], out band[2 * channels + c], out band[3 * channels + c]);
                }
            }
        }
    }

    private static void Mix(float a, float b, float c, float d, out float p, out float q, out float r, out float t)
    {
        float ab = a + b, cd = c + d, minus = a - b, other = c - d;
        (p, q, r, t) = ((ab + cd) * 0.5f, (minus + other) * 0.5f, (ab - cd) * 0.5f, (minus - other) * 0.5f);
    }
}
