// Group normalisation, optional modulation and activation: two reads and one write of the map.
//
//   y = act( ((x - mu)/sqrt(var + eps) * gamma + beta) * (1 + scale) + shift );  mu, var over one group of one image.
//   x, y: [N, P, C] with a pitch of ldx, ldy floats; gamma, beta: [C]; scale, shift: [N, C].
//
// Work split  (image, chunk of pixels) for the statistics and again for the result; a chunk depends on C and P alone.
// Numerics    per channel, sums of x - K and (x - K)^2 with K = the channel's first pixel, so that |mu| >> sigma does not cancel; float within
//             a chunk, double across chunks in order; channels of a group are combined in double (Chan et al. 1983). The mean is
//             subtracted as a float, its rounding error folded into the shift.
// Roofline    12 bytes per element against a dozen flops: memory bound; 2 reads are the floor without keeping the map in cache.
// Ladder      v1 this one. Idea: apply it where the next convolution reads its rows, and save one pass.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Group normalisation over channels-last maps.</summary>
public static unsafe class GroupNorm
{
    private const int ChunkElements = 16384;

    /// <summary>Scratch in bytes.</summary>
    public static long ScratchBytes(int n, int pixels, int channels, int groups, int workers) =>
        ((long)n * Chunks(pixels, channels) * 2 + (long)n * 3) * Padded(channels) * sizeof(float);

    /// <param name="gamma">[C], or null with <paramref name="beta"/>.</param>
    /// <param name="scale">[N, C] with pitch <paramref name="modulationPitch"/>, or null with <paramref name="shift"/>.</param>
    public static void Run(
        WorkerPool pool, float* x, long ldx, float* y, long ldy, int n, int pixels, int channels, int groups, float* gamma, float* beta, float epsilon,
        float* scale, float* shift, long modulationPitch, Activation activation, void* scratch)
    {
        int chunks = Chunks(pixels, channels), padded = Padded(channels);
        var s = new Arguments
        {
            X = x, Y = y, LdX = ldx, LdY = ldy, Pixels = pixels, Channels = channels, Chunks = chunks, Padded = padded, Activation = activation,
            Partial = (float*)scratch, Coefficients = (float*)scratch + (long)n * chunks * 2 * padded,
        };
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(n * chunks, &Statistics<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(n * chunks, &Statistics<Simd16Avx2>, &s); break;
            default: pool.For(n * chunks, &Statistics<Simd16Scalar>, &s); break;
        }

        for (int image = 0; image < n; image++)
        {
            Combine(
                s, image, groups, gamma, beta, epsilon, scale == null ? null : scale + image * modulationPitch, shift == null ? null : shift + image * modulationPitch);
        }

        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(n * chunks, &Apply<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(n * chunks, &Apply<Simd16Avx2>, &s); break;
            default: pool.For(n * chunks, &Apply<Simd16Scalar>, &s); break;
        }
    }

    private static int Padded(int channels) => (channels + 15) / 16 * 16;

    private static int PixelsPerChunk(int channels) => Math.Clamp(ChunkElements / channels, 16, 4096);

    private static int Chunks(int pixels, int channels)
    {
        int size = PixelsPerChunk(channels);
        return (pixels + size - 1) / size;
    }

    private struct Arguments
    {
        public float* X, Y, Partial, Coefficients;
        public long LdX, LdY;
        public int Pixels, Channels, Chunks, Padded;
        public Activation Activation;
    }

    private static void Statistics<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        int image = item / s->Chunks, chunk = item % s->Chunks, size = PixelsPerChunk(s->Channels);
        int count = Math.Min(size, s->Pixels - chunk * size);
        float* reference = s->X + (long)image * s->Pixels * s->LdX;
        float* x = reference + (long)chunk * size * s->LdX;
        float* sum = s->Partial + (long)item * 2 * s->Padded;
        float* square = sum + s->Padded;
        int c = 0;
        for (; c + 32 <= s->Channels; c += 32)
        {
            V k0 = V.Load(reference + c), k1 = V.Load(reference + c + 16);
            V a0 = V.Create(0f), a1 = a0, b0 = a0, b1 = a0;
            float* p = x + c;
            for (int i = 0; i < count; i++, p += s->LdX)
            {
                V d0 = V.Load(p) - k0, d1 = V.Load(p + 16) - k1;
                a0 += d0;
                a1 += d1;
                b0 = V.MultiplyAdd(d0, d0, b0);
                b1 = V.MultiplyAdd(d1, d1, b1);
            }

            V.Store(a0, sum + c);
            V.Store(a1, sum + c + 16);
            V.Store(b0, square + c);
            V.Store(b1, square + c + 16);
        }

        for (; c + 16 <= s->Channels; c += 16)
        {
            V k = V.Load(reference + c), a = V.Create(0f), b = a;
            float* p = x + c;
            for (int i = 0; i < count; i++, p += s->LdX)
            {
                V d = V.Load(p) - k;
                a += d;
                b = V.MultiplyAdd(d, d, b);
            }

            V.Store(a, sum + c);
            V.Store(b, square + c);
        }

        for (; c < s->Channels; c++)
        {
            float k = reference[c], a = 0, b = 0;
            float* p = x + c;
            for (int i = 0; i < count; i++, p += s->LdX)
            {
                float d = *p - k;
                a += d;
                b = MathF.FusedMultiplyAdd(d, d, b);
            }

            sum[c] = a;
            square[c] = b;
        }
    }

    // Turns partial sums into mean, factor and shift per channel.
    private static void Combine(in Arguments s, int image, int groups, float* gamma, float* beta, float epsilon, float* scale, float* shift)
    {
        int width = s.Channels / groups;
        float* reference = s.X + (long)image * s.Pixels * s.LdX;
        float* means = s.Coefficients + (long)image * 3 * s.Padded;
        float* factors = means + s.Padded;
        float* shifts = factors + s.Padded;
        for (int g = 0; g < groups; g++)
        {
            double mean = 0, spread = 0;
            for (int c = g * width; c < (g + 1) * width; c++) mean += ChannelMean(s, image, reference, c, out _) / width;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                double own = ChannelMean(s, image, reference, c, out double squares);
                spread += squares + s.Pixels * (own - mean) * (own - mean);
            }

            double inverse = 1 / Math.Sqrt(spread / ((double)s.Pixels * width) + epsilon);
            float rounded = (float)mean;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                double factor = gamma == null ? inverse : inverse * gamma[c], offset = beta == null ? 0 : beta[c];
                if (scale != null)
                {
                    factor *= 1.0 + scale[c];
                    offset = offset * (1.0 + scale[c]) + shift[c];
                }

                means[c] = rounded;
                factors[c] = (float)factor;
                shifts[c] = (float)(offset - (mean - rounded) * factor);
            }
        }
    }

    private static double ChannelMean(in Arguments s, int image, float* reference, int c, out double squares)
    {
        double sum = 0, square = 0;
        float* p = s.Partial + (long)image * s.Chunks * 2 * s.Padded + c;
        for (int chunk = 0; chunk < s.Chunks; chunk++, p += 2 * s.Padded)
        {
            sum += p[0];
            square += p[s.Padded];
        }

        squares = Math.Max(0, square - sum * sum / s.Pixels);
        return reference[c] + sum / s.Pixels;
    }

    private static void Apply<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        int image = item / s->Chunks, chunk = item % s->Chunks, size = PixelsPerChunk(s->Channels);
        int count = Math.Min(size, s->Pixels - chunk * size);
        long first = (long)image * s->Pixels + (long)chunk * size;
        float* means = s->Coefficients + (long)image * 3 * s->Padded;
        float* x = s->X + first * s->LdX;
        float* y = s->Y + first * s->LdY;
        // The activation is chosen outside the loops: a switch per vector would cost more than the arithmetic of None.
        if (s->Activation == Activation.Silu) Rows<V, WithSilu>(*s, x, y, means, count);
        else if (s->Activation == Activation.None) Rows<V, WithNone>(*s, x, y, means, count);
        else Rows<V, WithAny>(*s, x, y, means, count);
    }

    private interface IActivation
    {
        static abstract V Of<V>(Activation a, V x)
            where V : unmanaged, ISimd16<V>;
    }

    private readonly struct WithSilu : IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Of<V>(Activation a, V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Silu(x);
    }

    private readonly struct WithNone : IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Of<V>(Activation a, V x)
            where V : unmanaged, ISimd16<V> => x;
    }

    private readonly struct WithAny : IActivation
    {
        public static V Of<V>(Activation a, V x)
            where V : unmanaged, ISimd16<V> => VectorMath.Apply(a, x);
    }

    private static void Rows<V, TActivation>(in Arguments s, float* x, float* y, float* means, int count)
        where V : unmanaged, ISimd16<V>
        where TActivation : struct, IActivation
    {
        float* factors = means + s.Padded;
        float* shifts = factors + s.Padded;
        float* tail = stackalloc float[16];
        int whole = s.Channels / 16 * 16, rest = s.Channels - whole;
        for (int i = 0; i < count; i++, x += s.LdX, y += s.LdY)
        {
            for (int c = 0; c < whole; c += 16)
                V.Store(TActivation.Of(s.Activation, V.MultiplyAdd(V.Load(x + c) - V.Load(means + c), V.Load(factors + c), V.Load(shifts + c))), y + c);
            if (rest == 0) continue;
            for (int k = 0; k < 16; k++) tail[k] = k < rest ? MathF.FusedMultiplyAdd(x[whole + k] - means[whole + k], factors[whole + k], shifts[whole + k]) : 0;
            V.Store(TActivation.Of(s.Activation, V.Load(tail)), tail);
            for (int k = 0; k < rest; k++) y[whole + k] = tail[k];
        }
    }
}
