// The two halves of group normalisation, for maps that are computed piece by piece but normalised as a whole.
//
//   moments  m[n, g] = (mean, variance) of group g over a rectangle of the map
//   given    y = act( (x - mean)/sqrt(variance + eps) * gamma + beta ) with moments from elsewhere
//   x, y: [N, H, W, C]; moments: [N, G, 2]; gamma, beta: [C] or null.
//
// Work split  moments: rows of the rectangle, then images; given: as Run.
// Numerics    as Run: a row of pixels is a chunk. Variance is biased.
// Roofline    memory bound: one read for the moments, a read and a write for the result.
namespace DiffusionCore.Kernels.Host;

public static unsafe partial class GroupNorm
{
    /// <summary>Bytes of scratch that <see cref="Moments"/> needs; aligned to 8.</summary>
    public static long MomentsScratchBytes(int n, int height, int channels, int groups, int workers) =>
        (long)n * height * groups * 2 * sizeof(double) + (long)workers * 3 * Padded(channels) * sizeof(float);

    /// <summary>Statistics over rows [top, bottom) and columns [left, right), which must not be empty.</summary>
    public static void Moments(WorkerPool pool, float* x, int n, int height, int width, int channels, int groups, int top, int bottom, int left, int right, float* moments, void* scratch)
    {
        var s = new RectangleArguments
        {
            X = x, Moments = moments, Partial = (double*)scratch, Images = n, Height = height, Width = width, Channels = channels, Groups = groups, Padded = Padded(channels),
            Top = top, Rows = bottom - top, Left = left, Columns = right - left,
        };
        s.Sums = (float*)(s.Partial + (long)n * height * groups * 2);
        int items = n * s.Rows;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(items, &RowStatistics<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(items, &RowStatistics<Simd16Avx2>, &s); break;
            default: pool.For(items, &RowStatistics<Simd16Scalar>, &s); break;
        }

        pool.For(n, &CombineRows, &s);
    }

    /// <summary>As <see cref="Run"/> with statistics from elsewhere. Scratch as <see cref="ScratchBytes"/> says.</summary>
    /// <param name="moments">[N, groups, 2]: mean and variance.</param>
    public static void RunGiven(
        WorkerPool pool, float* x, float* y, int n, int pixels, int channels, int groups, float* moments, float* gamma, float* beta, float epsilon, Activation activation, void* scratch)
    {
        int chunks = Chunks(pixels, channels), padded = Padded(channels);
        var s = new Arguments
        {
            X = x, Y = y, LdX = channels, LdY = channels, Images = n, Pixels = pixels, Channels = channels, Groups = groups, Chunks = chunks, Padded = padded, Activation = activation,
            Gamma = gamma, Beta = beta, Epsilon = epsilon, Coefficients = (float*)scratch,
        };
        for (int image = 0; image < n; image++) Coefficients(s, moments + (long)image * groups * 2, image);
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(n * chunks, &Apply<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(n * chunks, &Apply<Simd16Avx2>, &s); break;
            default: pool.For(n * chunks, &Apply<Simd16Scalar>, &s); break;
        }
    }

    private struct RectangleArguments
    {
        public float* X, Moments, Sums;
        public double* Partial;
        public int Images, Height, Width, Channels, Groups, Padded, Top, Rows, Left, Columns;
    }

    private static void RowStatistics<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (RectangleArguments*)state;
        int image = item / s->Rows, row = s->Top + item % s->Rows;
        float* x = s->X + (((long)image * s->Height + row) * s->Width + s->Left) * s->Channels;
        ChunkStatistics<V>(x, s->Channels, s->Columns, s->Channels, s->Groups, s->Sums + (long)worker * 3 * s->Padded, s->Padded, s->Partial + (long)item * s->Groups * 2);
    }

    private static void CombineRows(void* state, int image, int worker)
    {
        var s = (RectangleArguments*)state;
        double elements = (double)s->Columns * (s->Channels / s->Groups);
        for (int g = 0; g < s->Groups; g++)
        {
            double mean = 0, spread = 0;
            double* p = s->Partial + ((long)image * s->Rows * s->Groups + g) * 2;
            for (int r = 0; r < s->Rows; r++) mean += p[(long)r * s->Groups * 2] / s->Rows;
            for (int r = 0; r < s->Rows; r++)
            {
                double off = p[(long)r * s->Groups * 2] - mean;
                spread += p[(long)r * s->Groups * 2 + 1] + elements * off * off;
            }

            float* m = s->Moments + ((long)image * s->Groups + g) * 2;
            m[0] = (float)mean;
            m[1] = (float)(spread / (elements * s->Rows));
        }
    }

    private static void Coefficients(in Arguments s, float* moments, int image)
    {
        int width = s.Channels / s.Groups;
        float* means = s.Coefficients + (long)image * 3 * s.Padded;
        float* factors = means + s.Padded;
        float* shifts = factors + s.Padded;
        for (int c = 0; c < s.Channels; c++)
        {
            float* m = moments + c / width * 2;
            double inverse = 1 / Math.Sqrt((double)m[1] + s.Epsilon);
            means[c] = m[0];
            factors[c] = (float)(s.Gamma == null ? inverse : inverse * s.Gamma[c]);
            shifts[c] = s.Beta == null ? 0 : s.Beta[c];
        }
    }
}
