// One sampler update in one pass over the latent: guidance, prediction, clipping, update, noise, history.
//
//   m    = u + g (c - u)                                   (guided; else m = c)
//   x0   = A0 x + B0 m,   eps = A1 x + B1 m                (what the network predicts, as four numbers)
//   x0   = clamp(x0, -clip, clip) or clamp(x0, -s, s)/s    (static, or dynamic with a threshold s per image); eps = P x + Q x0 again
//   x'   = X x + D x0 + E eps + H1 h1 + H2 h2 + H3 h3 + N noise
//
// Work split  (image, chunk of 4096 elements).
// Numerics    the coefficients arrive rounded from double; a chain of FMA in the order above.
// Roofline    bytes = 4 (x + m [+ u] + noise + histories + x' [+ x0]) per element, about 20 flops: memory bound.
namespace DiffusionCore.Kernels.Host;

/// <summary>The fused sampler step.</summary>
public static unsafe class SamplerStep
{
    private const int ChunkElements = 4096;

    /// <summary>Pointers are [Images][Elements]; null where unused.</summary>
    public struct Arguments
    {
        public float* Sample, Model, Unconditional, History1, History2, History3, Noise, Next, DenoisedOut, EpsilonOut, SampleOut;

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
        int count = Math.Min(ChunkElements, a->Elements - first);
        long origin = (long)image * a->Elements + first;
        float* buffer = stackalloc float[16];
        float threshold = a->Threshold == null ? 0 : a->Threshold[image];
        V bound = V.Create(a->Threshold == null ? a->Clip : threshold), zero = V.Create(0f);
        bool clips = a->Threshold != null || !float.IsPositiveInfinity(a->Clip);
        for (int i = 0; i < count; i += 16)
        {
            int lanes = Math.Min(16, count - i);
            long at = origin + i;
            V x = Load<V>(a->Sample + at, lanes, buffer);
            V m = Model<V>(a, a->Model, image, first + i, lanes, buffer, variance: false);
            if (a->Unconditional != null)
            {
                V u = Model<V>(a, a->Unconditional, image, first + i, lanes, buffer, variance: false);
                m = V.MultiplyAdd(V.Create(a->Guidance), m - u, u);
            }

            V denoised = V.MultiplyAdd(V.Create(a->A0), x, V.Create(a->B0) * m);
            V epsilon = V.MultiplyAdd(V.Create(a->A1), x, V.Create(a->B1) * m);
            if (clips)
            {
                denoised = V.Max(zero - bound, V.Min(bound, denoised));      // NaN passes through both
                if (a->Threshold != null) denoised /= bound;
                if (a->Rederive) epsilon = V.MultiplyAdd(V.Create(a->P), x, V.Create(a->Q) * denoised);
            }

            V next = V.Create(a->X) * x;
            next = V.MultiplyAdd(V.Create(a->D), denoised, next);
            if (a->E != 0) next = V.MultiplyAdd(V.Create(a->E), epsilon, next);
            if (a->History1 != null) next = V.MultiplyAdd(V.Create(a->H1), Load<V>(a->History1 + at, lanes, buffer), next);
            if (a->History2 != null) next = V.MultiplyAdd(V.Create(a->H2), Load<V>(a->History2 + at, lanes, buffer), next);
            if (a->History3 != null) next = V.MultiplyAdd(V.Create(a->H3), Load<V>(a->History3 + at, lanes, buffer), next);
            if (a->Noise != null)
            {
                V scale = V.Create(a->N);
                if (a->VarianceChannels > 0)
                {
                    V share = V.MultiplyAdd(V.Create(0.5f), Model<V>(a, a->Model, image, first + i, lanes, buffer, variance: true), V.Create(0.5f));
                    V log = V.MultiplyAdd(share, V.Create(a->VarianceMaxLog - a->VarianceMinLog), V.Create(a->VarianceMinLog));
                    scale *= VectorMath.Exp(V.Create(0.5f) * log);
                }

                next = V.MultiplyAdd(scale, Load<V>(a->Noise + at, lanes, buffer), next);
            }

            if (a->DenoisedOut != null) Store(denoised, a->DenoisedOut + at, lanes, buffer);
            if (a->EpsilonOut != null) Store(epsilon, a->EpsilonOut + at, lanes, buffer);
            if (a->SampleOut != null) Store(x, a->SampleOut + at, lanes, buffer);
            Store(next, a->Next + at, lanes, buffer);
        }
    }

    private static V Model<V>(Arguments* a, float* model, int image, int element, int lanes, float* buffer, bool variance)
        where V : unmanaged, ISimd16<V>
    {
        if (a->VarianceChannels == 0) return Load<V>(model + (long)image * a->Elements + element, lanes, buffer);
        // Pixels of 2C outputs: one division, then the index runs along and jumps over the half that is not wanted.
        int c = a->VarianceChannels, channel = element % c;
        float* p = model + 2L * ((long)image * a->Elements + element - channel) + channel + (variance ? c : 0);
        for (int k = 0; k < lanes; k++)
        {
            buffer[k] = *p++;
            if (++channel != c) continue;
            channel = 0;
            p += c;
        }

        for (int k = lanes; k < 16; k++) buffer[k] = 0;
        return V.Load(buffer);
    }

    private static V Load<V>(float* p, int lanes, float* buffer)
        where V : unmanaged, ISimd16<V>
    {
        if (lanes == 16) return V.Load(p);
        for (int k = 0; k < 16; k++) buffer[k] = k < lanes ? p[k] : 0;
        return V.Load(buffer);
    }

    private static void Store<V>(V v, float* p, int lanes, float* buffer)
        where V : unmanaged, ISimd16<V>
    {
        if (lanes == 16)
        {
            V.Store(v, p);
            return;
        }

        V.Store(v, buffer);
        for (int k = 0; k < lanes; k++) p[k] = buffer[k];
    }
}
