// The gradient of group normalisation with respect to its input.
//
//   dx = (g - mean(g) - z*mean(g*z))/s;  g = dy*gamma, z = (x - mu)/s, s = sqrt(var + eps); means, mu, var over one group of one image.
//   x, dy, dx: [N, P, C] dense; gamma: [C] or null for 1.
//
// Work split  (image, block of groups): whole groups, together at least 64 channels where there are as many. Nothing is shared between items.
// Numerics    per channel in float over at most 256 pixels, then in double over a channel's chunks and a group's channels; sums about the rounded mean, whose
//             rest is put right in double, so that |mu| >> sigma does not cancel. A channel's sum has one order whatever the vectors' width.
// Roofline    three passes: x, then x and dy, then both again and the result: 24 bytes per element against two dozen flops: memory bound.
// Ladder      v1 this one. Idea: keep statistics from the way there, and save the first pass.
using System.Runtime.CompilerServices;

namespace DiffusionCore.Kernels.Host;

/// <summary>Gradient of group normalisation over channels-last maps.</summary>
public static unsafe class GroupNormGradient
{
    private const int ChunkPixels = 256;
    private const int BlockChannels = 64;
    private const int Lanes = 16;

    /// <summary>Sums per channel: of x - m, of its square, of g, of g*(x - m).</summary>
    private const int Sums = 4;

    /// <summary>Bytes of scratch that <see cref="Run"/> needs on a pool of <paramref name="workers"/> threads; aligned to 8.</summary>
    public static long ScratchBytes(int channels, int groups, int workers) => (long)workers * Padded(channels, groups) * (Sums * sizeof(double) + 4 * sizeof(float));

    /// <param name="dx">May be <paramref name="dy"/>.</param>
    public static void Run(WorkerPool pool, float* x, float* dy, float* dx, int n, int pixels, int channels, int groups, float* gamma, float epsilon, void* scratch)
    {
        int perBlock = GroupsPerBlock(channels, groups), blocks = (groups + perBlock - 1) / perBlock;
        var s = new Arguments
        {
            X = x, Dy = dy, Dx = dx, Gamma = gamma, Pixels = pixels, Channels = channels, Groups = groups, PerBlock = perBlock, Blocks = blocks, Epsilon = epsilon,
            Padded = Padded(channels, groups), Scratch = (byte*)scratch,
        };
        int items = n * blocks;
        switch (pool.Isa)
        {
            case Isa.Avx512: pool.For(items, &Item<Simd16Avx512>, &s); break;
            case Isa.Avx2: pool.For(items, &Item<Simd16Avx2>, &s); break;
            default: pool.For(items, &Item<Simd16Scalar>, &s); break;
        }
    }

    private static int GroupsPerBlock(int channels, int groups) => Math.Clamp(BlockChannels / (channels / groups), 1, groups);

    private static int Padded(int channels, int groups) => (GroupsPerBlock(channels, groups) * (channels / groups) + Lanes - 1) / Lanes * Lanes;

    private struct Arguments
    {
        public float* X, Dy, Dx, Gamma;
        public byte* Scratch;
        public int Pixels, Channels, Groups, PerBlock, Blocks, Padded;
        public float Epsilon;
    }

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var s = (Arguments*)state;
        int image = item / s->Blocks, first = item % s->Blocks * s->PerBlock, groups = Math.Min(s->PerBlock, s->Groups - first), width = s->Channels / s->Groups, count = groups * width;
        long at = (long)image * s->Pixels * s->Channels + first * width;
        double* sums = (double*)(s->Scratch + (long)worker * s->Padded * (Sums * sizeof(double) + 4 * sizeof(float)));
        float* mean = (float*)(sums + (long)Sums * s->Padded);
        float* factorG = mean + s->Padded, factorX = factorG + s->Padded, shift = factorX + s->Padded;
        float* gamma = s->Gamma == null ? null : s->Gamma + first * width;
        double elements = (double)s->Pixels * width;

        new Span<double>(sums, Sums * s->Padded).Clear();
        for (int p = 0; p < s->Pixels; p += ChunkPixels) Means<V>(s->X + at + (long)p * s->Channels, s->Channels, Math.Min(ChunkPixels, s->Pixels - p), count, sums);
        for (int g = 0; g < groups; g++)
        {
            double total = 0;
            for (int c = g * width; c < (g + 1) * width; c++) total += sums[c];
            new Span<float>(mean + g * width, width).Fill((float)(total / elements));
        }

        new Span<double>(sums, Sums * s->Padded).Clear();
        for (int p = 0; p < s->Pixels; p += ChunkPixels)
        {
            long chunk = at + (long)p * s->Channels;
            Moments<V>(s->X + chunk, s->Dy + chunk, s->Channels, Math.Min(ChunkPixels, s->Pixels - p), count, mean, sums, s->Padded);
        }

        for (int g = 0; g < groups; g++)
        {
            double rest = 0, square = 0, sum = 0, product = 0;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                double scale = gamma == null ? 1 : gamma[c];
                rest += sums[c] / elements;
                square += sums[s->Padded + c] / elements;
                sum += scale * sums[2 * s->Padded + c] / elements;
                product += scale * sums[3 * s->Padded + c] / elements;
            }

            double inverse = 1 / Math.Sqrt(Math.Max(0, square - rest * rest) + s->Epsilon), slope = -inverse * inverse * inverse * (product - rest * sum);
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                factorG[c] = (float)(inverse * (gamma == null ? 1 : gamma[c]));
                factorX[c] = (float)slope;
                shift[c] = (float)(-inverse * sum - slope * rest);
            }
        }

        Apply<V>(s->X + at, s->Dy + at, s->Dx + at, s->Channels, s->Pixels, count, mean, factorG, factorX, shift);
    }

    private static void Means<V>(float* x, long pitch, int pixels, int count, double* sums)
        where V : unmanaged, ISimd16<V>
    {
        float* lanes = stackalloc float[Lanes];
        int c = 0;
        for (; c + Lanes <= count; c += Lanes)
        {
            V a = V.Create(0f);
            float* at = x + c;
            for (int p = 0; p < pixels; p++, at += pitch) a += V.Load(at);
            V.Store(a, lanes);
            for (int k = 0; k < Lanes; k++) sums[c + k] += lanes[k];
        }

        for (; c < count; c++)
        {
            float a = 0;
            float* at = x + c;
            for (int p = 0; p < pixels; p++, at += pitch) a += *at;
            sums[c] += a;
        }
    }

    // gamma is the same for all pixels of a channel and is multiplied into the sums afterwards.
    private static void Moments<V>(float* x, float* dy, long pitch, int pixels, int count, float* mean, double* sums, int padded)
        where V : unmanaged, ISimd16<V>
    {
        float* lanes = stackalloc float[Lanes];
        int c = 0;
        for (; c + Lanes <= count; c += Lanes)
        {
            V m = V.Load(mean + c), a = V.Create(0f), b = a, d = a, e = a;
            for (int p = 0; p < pixels; p++)
            {
                V g = V.Load(dy + p * pitch + c), z = V.Load(x + p * pitch + c) - m;
                a += z;
                b = V.MultiplyAdd(z, z, b);
                d += g;
                e = V.MultiplyAdd(g, z, e);
            }

            Add(a, sums + c, lanes);
            Add(b, sums + padded + c, lanes);
            Add(d, sums + 2 * padded + c, lanes);
            Add(e, sums + 3 * padded + c, lanes);
        }

        for (; c < count; c++)
        {
            float m = mean[c], a = 0, b = 0, d = 0, e = 0;
            for (int p = 0; p < pixels; p++)
            {
                float g = dy[p * pitch + c], z = x[p * pitch + c] - m;
                a += z;
                b = MathF.FusedMultiplyAdd(z, z, b);
                d += g;
                e = MathF.FusedMultiplyAdd(g, z, e);
            }

            sums[c] += a;
            sums[padded + c] += b;
            sums[2 * padded + c] += d;
            sums[3 * padded + c] += e;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<V>(V value, double* sums, float* lanes)
        where V : unmanaged, ISimd16<V>
    {
        V.Store(value, lanes);
        for (int k = 0; k < Lanes; k++) sums[k] += lanes[k];
    }

    private static void Apply<V>(float* x, float* dy, float* dx, long pitch, int pixels, int count, float* mean, float* factorG, float* factorX, float* shift)
        where V : unmanaged, ISimd16<V>
    {
        for (int p = 0; p < pixels; p++, x += pitch, dy += pitch, dx += pitch)
        {
            int c = 0;
            for (; c + Lanes <= count; c += Lanes)
                V.Store(V.MultiplyAdd(V.Load(factorG + c), V.Load(dy + c), V.MultiplyAdd(V.Load(factorX + c), V.Load(x + c) - V.Load(mean + c), V.Load(shift + c))), dx + c);
            for (; c < count; c++)
                dx[c] = MathF.FusedMultiplyAdd(factorG[c], dy[c], MathF.FusedMultiplyAdd(factorX[c], x[c] - mean[c], shift[c]));
        }
    }
}
