// One sampler update in one pass over the latent: guidance, prediction, clipping, update, noise, history.
//
//   m    = u + g (c - u)                                   (guided; else m = c)
//   m    = m + q (c - p),   m = f m                        (a perturbed branch p; rescaled by a factor f of the image)
//   x0   = A0 x + B0 m,   eps = A1 x + B1 m                (what the network predicts, as four numbers)
//   d    = B0 (c - u) + mu r;  x0 = a (A0 x + B0 c) + b d;  eps = P x + Q x0;  r = d     (projected guidance, a and b of the image)
//   x0   = clamp(x0, -clip, clip) or clamp(x0, -s, s)/s    (static, or dynamic with a threshold s per image); eps = P x + Q x0 again
//   x'   = X x + D x0 + E eps + H1 h1 + H2 h2 + H3 h3 + N noise
//   x'   = x' + k (S known + T noise - x')             (a part of the image is given, mask k)
//
// Work split  (image, chunk of 4096 elements).
// Numerics    the coefficients arrive rounded from double; a chain of FMA in the order above.
// Roofline    bytes = 4 (x + m [+ u] [+ p] [+ 2 r] + noise + histories + x' [+ x0]) per element, about 20 flops: memory bound.
// Ladder      v1 went through helpers that copied part vectors and passed 64-byte structs by memory: 34 ns per 16 elements. v2, this
//             one, has whole vectors in the loop and takes the last, partial one through a buffer: 5 ns.
// Measured    16 latents of 64x64x4 in cache, one core of an AMD EPYC (Zen 4) guest, AVX-512, 2026-11-24, best of 60:
//               DDIM: x, m -> x'                      0.068 ms  46 GB/s
//               guided, one history, denoised out     0.083 ms  76 GB/s (v1 0.56 ms)
//               guided, clipped, noise                0.087 ms  60 GB/s
//               learned variance, noise               0.36 ms   15 GB/s (pulling the 2C outputs apart one by one)
namespace DiffusionCore.Kernels.Host;

/// <summary>The fused sampler step.</summary>
public static unsafe class SamplerStep
{
    private const int ChunkElements = 4096;
    private const int BlockElements = 256;      // elements whose 2C outputs are pulled apart at a time: 3 KB of stack

    /// <summary>Pointers are [Images][Elements]; null where unused.</summary>
    public struct Arguments
    {
        public float* Sample, Model, Unconditional, History1, History2, History3, Noise, Next, DenoisedOut, EpsilonOut, SampleOut;

        /// <summary>The perturbed branch p and its scale q; null where there is none.</summary>
        public float* Perturbed;
        public float PerturbedScale;

        /// <summary>Two numbers per image, or null: the rescaling factor f and nothing, or where <see cref="Projects"/> a and b.</summary>
        public float* Factors;
        public bool Projects;

        /// <summary>The running difference r of projected guidance, or null; written back where <see cref="KeepsRunning"/>.</summary>
        public float* Running;
        public float Momentum;
        public bool KeepsRunning;

        /// <summary>The given image and its mask, 1 where it is given; null where nothing is. Noise must be there with them.</summary>
        public float* Known, Mask;
        public float KnownSignal, KnownNoise;

        /// <summary>One number per image, or null.</summary>
        public float* Threshold;
        public int Images, Elements;
        public float Guidance, A0, B0, A1, B1, Clip, P, Q;
        public bool Rederive;
        public float X, D, E, H1, H2, H3, N;

        /// <summary>
        /// Channels of a latent where the model's output holds 2C per pixel, the second half v for the variance; else 0. Then N is multiplied by
        /// exp(log variance / 2), log variance = (v + 1)/2*(MaxLog - MinLog) + MinLog; with -1 and 1 as bounds v is the log variance itself.
        /// </summary>
        public int VarianceChannels;
        public float VarianceMinLog, VarianceMaxLog;
    }

    public static void Run(WorkerPool pool, in Arguments arguments)
    {
        fixed (Arguments* a = &arguments)
        {
            int items = a->Images * Chunks(a->Elements);
            switch (pool.Isa)
            {
                case Isa.Avx512: pool.For(items, &Item<Simd16Avx512>, a); break;
                case Isa.Avx2: pool.For(items, &Item<Simd16Avx2>, a); break;
                default: pool.For(items, &Item<Simd16Scalar>, a); break;
            }
        }
    }

    private static int Chunks(int elements) => (elements + ChunkElements - 1) / ChunkElements;

    private static void Item<V>(void* state, int item, int worker)
        where V : unmanaged, ISimd16<V>
    {
        var a = (Arguments*)state;
        int chunks = Chunks(a->Elements), image = item / chunks, first = item % chunks * ChunkElements;
        int count = Math.Min(ChunkElements, a->Elements - first), block = a->VarianceChannels > 0 ? BlockElements : ChunkElements;
        float threshold = a->Threshold == null ? a->Clip : a->Threshold[image];
        float* split = stackalloc float[4 * BlockElements];
        float* tail = stackalloc float[16 * 16];
        for (int i = 0; i < count; i += block)
        {
            int n = Math.Min(block, count - i), whole = n / 16 * 16;
            var s = Streams.At(a, (long)image * a->Elements + first + i);
            if (a->VarianceChannels > 0)
            {
                // Pixels of 2C outputs: the halves are pulled apart in cache, then the loop is the same for all.
                Split(a, a->Model, image, first + i, n, s.Model = split, s.Variance = split + BlockElements);
                if (s.Unconditional != null) Split(a, a->Unconditional, image, first + i, n, s.Unconditional = split + 2 * BlockElements, null);
                if (s.Perturbed != null) Split(a, a->Perturbed, image, first + i, n, s.Perturbed = split + 3 * BlockElements, null);
            }

            float* factors = a->Factors == null ? null : a->Factors + 2L * image;
            Vectors<V>(a, s, whole, threshold, factors);
            if (whole == n) continue;
            var last = s.Gather(whole, n - whole, tail);
            Vectors<V>(a, last, 16, threshold, factors);
            s.Scatter(last, whole, n - whole);
        }
    }

    private static void Vectors<V>(Arguments* a, in Streams s, int count, float threshold, float* factors)
        where V : unmanaged, ISimd16<V>
    {
        bool divides = a->Threshold != null, clips = divides || !float.IsPositiveInfinity(a->Clip), rederives = clips && a->Rederive, projects = factors != null && a->Projects;
        V a0 = V.Create(a->A0), b0 = V.Create(a->B0), a1 = V.Create(a->A1), b1 = V.Create(a->B1), bound = V.Create(threshold), half = V.Create(0.5f);
        for (int i = 0; i < count; i += 16)
        {
            V x = V.Load(s.Sample + i);
            V m = V.Load(s.Model + i);
            if (s.Perturbed != null || factors != null)
            {
                V c = m, difference = default;
                if (s.Unconditional != null)
                {
                    V u = V.Load(s.Unconditional + i);
                    difference = c - u;
                    m = V.MultiplyAdd(V.Create(a->Guidance), difference, u);
                }

                if (s.Perturbed != null) m = V.MultiplyAdd(V.Create(a->PerturbedScale), c - V.Load(s.Perturbed + i), m);
                if (factors != null && !a->Projects) m = V.Create(factors[0]) * m;
                if (projects)
                {
                    difference = b0 * difference;
                    if (s.Running != null)
                    {
                        difference = V.MultiplyAdd(V.Create(a->Momentum), V.Load(s.Running + i), difference);
                        if (a->KeepsRunning) V.Store(difference, s.Running + i);
                    }

                    // The guided estimate, and m is not needed after it.
                    m = V.MultiplyAdd(V.Create(factors[1]), difference, V.Create(factors[0]) * V.MultiplyAdd(a0, x, b0 * c));
                }
            }
            else if (s.Unconditional != null)
            {
                V u = V.Load(s.Unconditional + i);
                m = V.MultiplyAdd(V.Create(a->Guidance), m - u, u);
            }

            V denoised = projects ? m : V.MultiplyAdd(a0, x, b0 * m);
            V epsilon = projects ? V.MultiplyAdd(V.Create(a->P), x, V.Create(a->Q) * m) : V.MultiplyAdd(a1, x, b1 * m);
            if (clips) denoised = V.Max(V.Create(0f) - bound, V.Min(bound, denoised));      // NaN passes through both
            if (divides) denoised = denoised / bound;
            if (rederives) epsilon = V.MultiplyAdd(V.Create(a->P), x, V.Create(a->Q) * denoised);

            V next = V.Create(a->X) * x;
            next = V.MultiplyAdd(V.Create(a->D), denoised, next);
            if (a->E != 0) next = V.MultiplyAdd(V.Create(a->E), epsilon, next);
            if (s.History1 != null) next = V.MultiplyAdd(V.Create(a->H1), V.Load(s.History1 + i), next);
            if (s.History2 != null) next = V.MultiplyAdd(V.Create(a->H2), V.Load(s.History2 + i), next);
            if (s.History3 != null) next = V.MultiplyAdd(V.Create(a->H3), V.Load(s.History3 + i), next);
            if (s.Noise != null)
            {
                V scale = V.Create(a->N);
                if (s.Variance != null)
                {
                    V share = V.MultiplyAdd(half, V.Load(s.Variance + i), half);
                    V log = V.MultiplyAdd(share, V.Create(a->VarianceMaxLog - a->VarianceMinLog), V.Create(a->VarianceMinLog));
                    scale = scale * VectorMath.Exp(half * log);
                }

                next = V.MultiplyAdd(scale, V.Load(s.Noise + i), next);
            }

            if (s.Known != null)
            {
                V given = V.MultiplyAdd(V.Create(a->KnownNoise), V.Load(s.Noise + i), V.Create(a->KnownSignal) * V.Load(s.Known + i));
                next = V.MultiplyAdd(V.Load(s.Mask + i), given - next, next);
            }

            if (s.Denoised != null) V.Store(denoised, s.Denoised + i);
            if (s.Epsilon != null) V.Store(epsilon, s.Epsilon + i);
            if (s.Before != null) V.Store(x, s.Before + i);
            V.Store(next, s.Next + i);
        }
    }

    private static void Split(Arguments* a, float* model, int image, int element, int count, float* mean, float* variance)
    {
        int c = a->VarianceChannels, channel = element % c;
        float* p = model + 2L * ((long)image * a->Elements + element - channel) + channel;
        for (int k = 0; k < count; k++, p++)
        {
            mean[k] = p[0];
            if (variance != null) variance[k] = p[c];
            if (++channel != c) continue;
            channel = 0;
            p += c;
        }
    }

    /// <summary>Where one run of elements lies in each array; null where the step does not use it.</summary>
    private struct Streams
    {
        public float* Sample, Model, Unconditional, History1, History2, History3, Noise, Variance, Known, Mask, Perturbed, Running, Next, Denoised, Epsilon, Before;
        public bool KeepsRunning;

        public static Streams At(Arguments* a, long at) => new()
        {
            Sample = a->Sample + at, Model = a->Model + at, Unconditional = Move(a->Unconditional, at), History1 = Move(a->History1, at), History2 = Move(a->History2, at),
            History3 = Move(a->History3, at), Noise = Move(a->Noise, at), Next = a->Next + at, Denoised = Move(a->DenoisedOut, at), Epsilon = Move(a->EpsilonOut, at),
            Before = Move(a->SampleOut, at), Known = Move(a->Known, at), Mask = Move(a->Mask, at),
            Perturbed = Move(a->Perturbed, at), Running = Move(a->Running, at), KeepsRunning = a->KeepsRunning,
        };

        /// <summary>The same arrays for the last, partial vector, copied to a buffer of 16 vectors.</summary>
        public readonly Streams Gather(int at, int lanes, float* buffer) => new()
        {
            Sample = Copy(Sample, at, lanes, buffer), Model = Copy(Model, at, lanes, buffer + 16), Unconditional = Copy(Unconditional, at, lanes, buffer + 32),
            History1 = Copy(History1, at, lanes, buffer + 48), History2 = Copy(History2, at, lanes, buffer + 64), History3 = Copy(History3, at, lanes, buffer + 80),
            Noise = Copy(Noise, at, lanes, buffer + 96), Variance = Copy(Variance, at, lanes, buffer + 112), Next = buffer + 128,
            Denoised = Denoised == null ? null : buffer + 144, Epsilon = Epsilon == null ? null : buffer + 160, Before = Before == null ? null : buffer + 176,
            Known = Copy(Known, at, lanes, buffer + 192), Mask = Copy(Mask, at, lanes, buffer + 208),
            Perturbed = Copy(Perturbed, at, lanes, buffer + 224), Running = Copy(Running, at, lanes, buffer + 240),
        };

        public readonly void Scatter(in Streams last, int at, int lanes)
        {
            for (int k = 0; k < lanes; k++)
            {
                Next[at + k] = last.Next[k];
                if (Denoised != null) Denoised[at + k] = last.Denoised[k];
                if (Epsilon != null) Epsilon[at + k] = last.Epsilon[k];
                if (Before != null) Before[at + k] = last.Before[k];
                if (KeepsRunning) Running[at + k] = last.Running[k];
            }
        }

        private static float* Move(float* p, long at) => p == null ? null : p + at;

        private static float* Copy(float* p, int at, int lanes, float* buffer)
        {
            if (p == null) return null;
            for (int k = 0; k < 16; k++) buffer[k] = k < lanes ? p[at + k] : 0;
            return buffer;
        }
    }
}
