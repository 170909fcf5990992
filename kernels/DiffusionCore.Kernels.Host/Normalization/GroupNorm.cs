// Group normalisation, optional modulation and activation: two reads and one write of the map.
//
//   y = act( ((x - mu)/sqrt(var + eps) * gamma + beta) * (1 + scale) + shift );  mu, var over one group of one image.
//   x, y: [N, P, C] with a pitch of ldx, ldy floats; gamma, beta: [C]; scale, shift: [N, C] with a pitch; each of the four may be null.
//
// Work split  (image, chunk of pixels) for the statistics and again, backwards, for the result: what was read last is still in cache.
//             A chunk depends on C and P alone.
// Numerics    sums of x - K and (x - K)^2 with K the group's mean over the chunk's first pixels, so that |mu| >> sigma does not cancel;
//             per channel in float within a chunk (at most 1024 pixels), then in double over a group's channels and, as mean and sum
//             of squared deviations (Chan et al. 1983), over chunks. A chunk whose first pixels mislead is summed again about
//             the mean just found. The mean is subtracted as a float, its rounding error folded
//             into the shift.
// Roofline    12 bytes per element against a dozen flops: memory bound; 2 reads are the floor without keeping the map in cache.
// Ladder      v1 took K from the image's first pixel (an outlier there cost digits) and combined channel by channel on one thread.
//             v2 this one. Tried without gain: statistics in blocks of 2048 elements, so that memory is read in order.
//             Idea: apply it where the next convolution reads its rows, and save one pass.
// Measured    one core of an AMD EPYC (Zen 4) guest, AVX-512, 2026-11-24, other work on the machine, best of 60, GB/s of the 12 bytes:
//               64x64 320, 32 groups, no activation   0.26 ms  61 GB/s (in L3; a copy of the same map 85 GB/s)
//               64x64 320, 32 groups, SiLU            0.63 ms  25 GB/s (bound by exp and division, 0.3 ns an element)
//               256x256 128, 32 groups, SiLU          6.9 ms   15 GB/s (from memory; a copy 25 to 36 GB/s)
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>Group normalisation over channels-last maps.</summary>
public static unsafe partial class GroupNorm
{
    private const int ChunkElements = 16384;
    private const int ReferencePixels = 4;
    private const int PrefetchedPixels = 6;

    /// <summary>Where the correction for K takes more than this share of the sum of squares, K was far off and the chunk is summed again.</summary>
    private const double MostTaken = 0.9;

    /// <summary>Bytes of scratch that <see cref="Run"/> needs on a pool of <paramref name="workers"/> threads; aligned to 8.</summary>
    public static long ScratchBytes(int n, int pixels, int channels, int groups, int workers) =>
        (long)n * Chunks(pixels, channels) * groups * 2 * sizeof(double) + ((long)n + workers) * 3 * Padded(channels) * sizeof(float);

    /// <param name="gamma">[C] or null for 1.</param>
    /// <param name="beta">[C] or null for 0.</param>
    /// <param name="scale">[N, C] with pitch <paramref name="modulationPitch"/>, or null for 0.</param>
    /// <param name="shift">As <paramref name="scale"/>.</param>
    /// <param name="y">May be <paramref name="x"/>.</param>
    public static void Run(
        WorkerPool pool, float* x, long ldx, float* y, long ldy, int n, int pixels, int channels, int groups, float* gamma, float* beta, float epsilon,
        float* scale, float* shift, long modulationPitch, Activation activation, void* scratch)
    {
        int chunks = Chunks(pixels, channels), padded = Padded(channels);
        var s = new Arguments
        {
            X = x, Y = y, LdX = ldx, LdY = ldy, Images = n, Pixels = pixels, Channels = channels, Groups = groups, Chunks = chunks, Padded = padded, Activation = activation,
            Gamma = gamma, Beta = beta, Scale = scale, Shift = shift, ModulationPitch = modulationPitch, Epsilon = epsilon,
            Streaming = HostIsa.StreamsTo(y, ldy, (long)n * pixels * channels * sizeof(float)),
        };
        s.Partial = (double*)scratch;
        s.Coefficients = (float*)(s.Partial + (long)n * chunks * groups * 2);
        s.Sums = s.Coefficients + (long)n * 3 * padded;
        switch (pool.Isa)
        {
            case Isa.Avx512: Launch<Simd16Avx512>(pool, &s); break;
            case Isa.Avx2: Launch<Simd16Avx2>(pool, &s); break;
            default: Launch<Simd16Scalar>(pool, &s); break;
        }
    }

    private static void Launch<V>(WorkerPool pool, Arguments* s)
        where V : unmanaged, ISimd16<V>
    {
        pool.For(s->Images * s->Chunks, &Statistics<V>, s);
        pool.For(s->Images, &Combine, s);
        pool.For(s->Images * s->Chunks, &Apply<V>, s);
    }

    private static int Padded(int channels) => (channels + 15) / 16 * 16;

    private static int PixelsPerChunk(int channels) => Math.Clamp(ChunkElements / channels, 16, 1024);

    private static int Chunks(int pixels, int channels)
    {
        int size = PixelsPerChunk(channels);
        return (pixels + size - 1) / size;
    }

    private struct Arguments
    {
        public float* X, Y, Coefficients, Sums, Gamma, Beta, Scale, Shift;
        public double* Partial;
        public long LdX, LdY, ModulationPitch;
        public int Images, Pixels, Channels, Groups, Chunks, Padded;
        public float Epsilon;
        public Activation Activation;
        public bool Streaming;
    }

    // Mean and sum of squared deviations of each group over one chunk.
    private static void Statistics<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        int image = item / s->Chunks, chunk = item % s->Chunks, size = PixelsPerChunk(s->Channels);
        int count = Math.Min(size, s->Pixels - chunk * size);
        float* x = s->X + ((long)image * s->Pixels + (long)chunk * size) * s->LdX;
        ChunkStatistics<V>(x, s->LdX, count, s->Channels, s->Groups, s->Sums + (long)worker * 3 * s->Padded, s->Padded, s->Partial + (long)item * s->Groups * 2);
    }

    // Mean and sum of squared deviations of each group over some pixels. The scratch holds 3 rows of padded channels.
    private static void ChunkStatistics<V>(float* x, long ldx, int count, int channels, int groups, float* scratch, int padded, double* partial)
        where V : unmanaged, ISimd16<V>
    {
        int width = channels / groups;
        float* reference = scratch;
        float* sum = reference + padded;
        float* square = sum + padded;

        int first = Math.Min(count, ReferencePixels);
        new Span<float>(reference, channels).Clear();
        Accumulate<V>(x, ldx, first, channels, reference, sum, square);
        for (int g = 0; g < groups; g++)
        {
            float total = 0;
            for (int c = g * width; c < (g + 1) * width; c++) total += sum[c];
            new Span<float>(reference + g * width, width).Fill(total / (first * width));
        }

        double elements = (double)count * width;
        for (int attempt = 0; attempt < 2; attempt++)
        {
            Accumulate<V>(x, ldx, count, channels, reference, sum, square);
            bool again = false;
            for (int g = 0; g < groups; g++)
            {
                double a = 0, b = 0;
                for (int c = g * width; c < (g + 1) * width; c++)
                {
                    a += sum[c];
                    b += square[c];
                }

                double mean = reference[g * width] + a / elements, taken = a * a / elements;
                partial[2 * g] = mean;
                partial[2 * g + 1] = Math.Max(0, b - taken);
                if (taken <= MostTaken * b) continue;
                again = true;
                new Span<float>(reference + g * width, width).Fill((float)mean);
            }

            if (!again) break;
        }
    }

    // Per channel, sums over pixels of x - reference and of its square.
    private static void Accumulate<V>(float* x, long ldx, int count, int channels, float* reference, float* sum, float* square)
        where V : unmanaged, ISimd16<V>
    {
        int c = 0;
        for (; c + 32 <= channels; c += 32)
        {
            V k0 = V.Load(reference + c), k1 = V.Load(reference + c + 16);
            V a0 = V.Create(0f), a1 = a0, b0 = a0, b1 = a0;
            float* p = x + c;
            for (int i = 0; i < count; i++, p += ldx)
            {
                // The first channels go ahead for all: memory is then read in order, whole pixels at a time.
                if (c == 0 && Sse.IsSupported)
                    for (int k = 0; k < channels; k += 16) Sse.Prefetch0(p + PrefetchedPixels * ldx + k);
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

        for (; c + 16 <= channels; c += 16)
        {
            V k = V.Load(reference + c), a = V.Create(0f), b = a;
            float* p = x + c;
            for (int i = 0; i < count; i++, p += ldx)
            {
                V d = V.Load(p) - k;
                a += d;
                b = V.MultiplyAdd(d, d, b);
            }

            V.Store(a, sum + c);
            V.Store(b, square + c);
        }

        for (; c < channels; c++)
        {
            float k = reference[c], a = 0, b = 0;
            float* p = x + c;
            for (int i = 0; i < count; i++, p += ldx)
            {
                float d = *p - k;
                a += d;
                b = MathF.FusedMultiplyAdd(d, d, b);
            }

            sum[c] = a;
            square[c] = b;
        }
    }

    // Turns the chunks' statistics of one image into mean, factor and shift per channel.
    private static void Combine(void* state, int image, int worker)
    {
        var s = (Arguments*)state;
        int width = s->Channels / s->Groups, size = PixelsPerChunk(s->Channels);
        float* scale = s->Scale == null ? null : s->Scale + image * s->ModulationPitch;
        float* shift = s->Shift == null ? null : s->Shift + image * s->ModulationPitch;
        float* means = s->Coefficients + (long)image * 3 * s->Padded;
        float* factors = means + s->Padded;
        float* shifts = factors + s->Padded;
        for (int g = 0; g < s->Groups; g++)
        {
            double mean = 0, spread = 0;
            double* p = s->Partial + ((long)image * s->Chunks * s->Groups + g) * 2;
            for (int chunk = 0; chunk < s->Chunks; chunk++) mean += p[(long)chunk * s->Groups * 2] * Math.Min(size, s->Pixels - chunk * size) / s->Pixels;
            for (int chunk = 0; chunk < s->Chunks; chunk++)
            {
                double off = p[(long)chunk * s->Groups * 2] - mean;
                spread += p[(long)chunk * s->Groups * 2 + 1] + (double)Math.Min(size, s->Pixels - chunk * size) * width * off * off;
            }

            double inverse = 1 / Math.Sqrt(spread / ((double)s->Pixels * width) + s->Epsilon);
            float rounded = (float)mean;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                double modulation = scale == null ? 1 : 1.0 + scale[c];
                double factor = (s->Gamma == null ? inverse : inverse * s->Gamma[c]) * modulation;
                double offset = (s->Beta == null ? 0 : s->Beta[c]) * modulation + (shift == null ? 0 : shift[c]);
                means[c] = rounded;
                factors[c] = (float)factor;
                shifts[c] = (float)(offset - (mean - rounded) * factor);
            }
        }
    }

    private static void Apply<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        item = s->Images * s->Chunks - 1 - item;
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
        if (s->Streaming) HostIsa.FenceStores();
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
            {
                V v = TActivation.Of(s.Activation, V.MultiplyAdd(V.Load(x + c) - V.Load(means + c), V.Load(factors + c), V.Load(shifts + c)));
                if (s.Streaming) V.StoreStreaming(v, y + c);
                else V.Store(v, y + c);
            }

            if (rest == 0) continue;
            for (int k = 0; k < 16; k++) tail[k] = k < rest ? MathF.FusedMultiplyAdd(x[whole + k] - means[whole + k], factors[whole + k], shifts[whole + k]) : 0;
            V.Store(TActivation.Of(s.Activation, V.Load(tail)), tail);
            for (int k = 0; k < rest; k++) y[whole + k] = tail[k];
        }
    }
}
