// The fused sampler step on a state in double: the formula of SamplerStep.cs with F64 latents and F32 predictions.
//
//   x, histories, noise, x', x0, eps, known part, running difference: F64 [images][elements];  m, u, p: F32, 2C numbers per pixel with a variance.
//   x' is also written in F32, as the network reads it.
//
// Work split  (image, chunk of 4096 elements).
// Numerics    an FMA chain in double in the order of the F32 step; exp of the engine's own. Elements do not meet, so the instruction set does not matter.
// Roofline    8 (x + noise + histories + x' [+ x0]) + 4 (m [+ u] [+ p] + x' in F32) bytes per element.
// Ladder      v1 this one, scalar: the network before it takes a thousand times as long.  idea: Vector512<double>.
namespace DiffusionCore.Kernels.Host;

/// <summary>The fused sampler step in double.</summary>
public static unsafe class SamplerStepDouble
{
    private const int ChunkElements = 4096;

    /// <summary>As <see cref="SamplerStep.Arguments"/>.</summary>
    public struct Arguments
    {
        public float* Model, Unconditional, Perturbed, NextSingle;
        public double* Sample, History1, History2, History3, Noise, Next, DenoisedOut, EpsilonOut, SampleOut, Known, Mask, Running;

        /// <summary>Per image: the threshold, and two factors of guidance; null where there are none.</summary>
        public double* Threshold, Factors;
        public int Images, Elements, VarianceChannels;
        public bool Projects, KeepsRunning, Rederive;
        public double Guidance, PerturbedScale, Momentum, A0, B0, A1, B1, P, Q, Clip, X, D, E, H1, H2, H3, N, KnownSignal, KnownNoise, VarianceMinLog, VarianceMaxLog;
    }

    public static void Run(WorkerPool pool, in Arguments arguments)
    {
        fixed (Arguments* a = &arguments) pool.For(a->Images * Chunks(a->Elements), &Item, a);
    }

    private static int Chunks(int elements) => (elements + ChunkElements - 1) / ChunkElements;

    private static void Item(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        int chunks = Chunks(a->Elements), image = item / chunks, first = item % chunks * ChunkElements, count = Math.Min(ChunkElements, a->Elements - first), channels = a->VarianceChannels;
        for (int k = 0; k < count; k++)
        {
            long i = (long)image * a->Elements + first + k, at = channels == 0 ? i : i / channels * 2 * channels + i % channels;
            double x = a->Sample[i], c = a->Model[at], m = c, u = a->Unconditional == null ? c : a->Unconditional[at];
            if (a->Unconditional != null) m = Fma(a->Guidance, c - u, u);
            if (a->Perturbed != null) m = Fma(a->PerturbedScale, c - a->Perturbed[at], m);
            double denoised, epsilon;
            if (a->Projects)
            {
                double d = a->B0 * (c - u);
                if (a->Running != null)
                {
                    d = Fma(a->Momentum, a->Running[i], d);
                    if (a->KeepsRunning) a->Running[i] = d;
                }

                denoised = Fma(a->Factors[2 * image + 1], d, a->Factors[2 * image] * Fma(a->A0, x, a->B0 * c));
                epsilon = Fma(a->P, x, a->Q * denoised);
            }
            else
            {
                if (a->Factors != null) m *= a->Factors[2 * image];
                denoised = Fma(a->A0, x, a->B0 * m);
                epsilon = Fma(a->A1, x, a->B1 * m);
            }

            if (a->Threshold != null || !double.IsPositiveInfinity(a->Clip))
            {
                double bound = a->Threshold == null ? a->Clip : a->Threshold[image];
                denoised = denoised > bound ? bound : denoised < -bound ? -bound : denoised;     // NaN passes through both
                if (a->Threshold != null) denoised /= bound;
                if (a->Rederive) epsilon = Fma(a->P, x, a->Q * denoised);
            }

            double next = Fma(a->D, denoised, a->X * x);
            if (a->E != 0) next = Fma(a->E, epsilon, next);
            if (a->History1 != null) next = Fma(a->H1, a->History1[i], next);
            if (a->History2 != null) next = Fma(a->H2, a->History2[i], next);
            if (a->History3 != null) next = Fma(a->H3, a->History3[i], next);
            if (a->Noise != null)
            {
                double scale = a->N;
                if (channels > 0) scale *= DoubleMath.Exp(0.5 * Fma(Fma(0.5, a->Model[at + channels], 0.5), a->VarianceMaxLog - a->VarianceMinLog, a->VarianceMinLog));
                next = Fma(scale, a->Noise[i], next);
            }

            if (a->Known != null) next = Fma(a->Mask[i], Fma(a->KnownNoise, a->Noise[i], a->KnownSignal * a->Known[i]) - next, next);
            if (a->DenoisedOut != null) a->DenoisedOut[i] = denoised;
            if (a->EpsilonOut != null) a->EpsilonOut[i] = epsilon;
            if (a->SampleOut != null) a->SampleOut[i] = x;
            if (a->NextSingle != null) a->NextSingle[i] = (float)next;
            a->Next[i] = next;
        }
    }

    private static double Fma(double a, double b, double c) => Math.FusedMultiplyAdd(a, b, c);
}
