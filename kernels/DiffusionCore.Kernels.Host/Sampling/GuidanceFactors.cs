// The numbers of an image that guidance needs before the update: reductions over its predictions.
//
//   rescaled    m = u + g (c - u) + q (c - p);   f = share*std(c)/std(m) + 1 - share                      (Lin et al. 2024, equations 15 and 16)
//   projected   d = B0 (c - u) + mu r,  D = A0 x + B0 c;   k = min(1, threshold/|d|),  t = (d.D)/(D.D)
//               a = 1 + (g - 1) k (parallel - 1) t,  b = (g - 1) k;   guided = a D + b d                   (Sadat et al. 2025, algorithm 1)
//   x, c, u, p, r: [images][elements];  factors: [images][2]
//
// Work split  (image, chunk of 4096 elements); partial sums are added in the order of the chunks.
// Numerics    double, 16 partial sums per chunk by element modulo 16: the same on every instruction set and for every number of threads. Variances
//             from sums and sums of squares: in double the square of the mean costs no digit of a float prediction.
// Roofline    4 (c + u [+ p] or c + u + x [+ r]) bytes per element, a dozen flops, read again by the update from cache.
// Ladder      v1 this one, scalar doubles.  idea: eight doubles to a vector.
namespace DiffusionCore.Kernels.Host;

/// <summary>Per-image factors of rescaled and projected guidance.</summary>
public static unsafe class GuidanceFactors
{
    private const int ChunkElements = 4096, Lanes = 16, Sums = 4;

    /// <summary>Pointers are [Images][Elements]; predictions are F32 and where VarianceChannels is C hold 2C numbers per pixel, of which the first C count.</summary>
    public struct Arguments
    {
        public float* Model, Unconditional, Perturbed;

        /// <summary>The latent and the running difference, F32 or where <see cref="Double"/> F64; read where <see cref="Projects"/>.</summary>
        public void* Sample, Running;
        public bool Double, Projects;
        public int Images, Elements, VarianceChannels;
        public double Guidance, PerturbedScale, A0, B0;

        /// <summary>Share of the rescaled prediction.</summary>
        public double Rescale;
        public double Threshold, Momentum, Parallel;
        internal double* Partial;
    }

    /// <summary>Partial sums that <see cref="Run"/> needs room for.</summary>
    public static int Scratch(int images, int elements) => images * Chunks(elements) * Sums;

    /// <param name="scratch"><see cref="Scratch"/> numbers.</param>
    /// <param name="factors">Receives [Images][2]: f and 0, or a and b.</param>
    public static void Run(WorkerPool pool, Arguments arguments, double* scratch, double* factors)
    {
        arguments.Partial = scratch;
        int chunks = Chunks(arguments.Elements);
        pool.For(arguments.Images * chunks, &Item, &arguments);
        double* sums = stackalloc double[Sums];
        for (int image = 0; image < arguments.Images; image++)
        {
            new Span<double>(sums, Sums).Clear();
            for (int k = 0; k < chunks; k++)
                for (int s = 0; s < Sums; s++) sums[s] += scratch[((long)image * chunks + k) * Sums + s];
            (factors[2 * image], factors[2 * image + 1]) = arguments.Projects ? Projected(arguments, sums) : (Rescaled(arguments, sums), 0);
        }
    }

    private static double Rescaled(in Arguments a, double* sums)
    {
        double conditional = sums[1] - sums[0] * sums[0] / a.Elements, guided = sums[3] - sums[2] * sums[2] / a.Elements;
        return guided > 0 ? a.Rescale * Math.Sqrt(Math.Max(0, conditional) / guided) + 1 - a.Rescale : 1;
    }

    private static (double, double) Projected(in Arguments a, double* sums)
    {
        double norm = Math.Sqrt(sums[0]), shrink = a.Threshold > 0 && norm > a.Threshold ? a.Threshold / norm : 1, along = sums[2] > 0 ? sums[1] / sums[2] : 0;
        return (1 + (a.Guidance - 1) * shrink * (a.Parallel - 1) * along, (a.Guidance - 1) * shrink);
    }

    private static int Chunks(int elements) => (elements + ChunkElements - 1) / ChunkElements;

    private static void Item(void* state, int item, int worker)
    {
        var a = (Arguments*)state;
        int chunks = Chunks(a->Elements), image = item / chunks, first = item % chunks * ChunkElements, count = Math.Min(ChunkElements, a->Elements - first);
        double* lanes = stackalloc double[Sums * Lanes];
        new Span<double>(lanes, Sums * Lanes).Clear();
        for (int i = 0; i < count; i++)
        {
            long at = (long)image * a->Elements + first + i, m = a->VarianceChannels == 0 ? at : at / a->VarianceChannels * 2 * a->VarianceChannels + at % a->VarianceChannels;
            double c = a->Model[m], u = a->Unconditional == null ? c : a->Unconditional[m];
            double* lane = lanes + i % Lanes * Sums;
            if (a->Projects)
            {
                double d = a->B0 * (c - u), denoised = a->A0 * At(a->Sample, at, a->Double) + a->B0 * c;
                if (a->Running != null) d += a->Momentum * At(a->Running, at, a->Double);
                lane[0] += d * d;
                lane[1] += d * denoised;
                lane[2] += denoised * denoised;
            }
            else
            {
                double guided = u + a->Guidance * (c - u);
                if (a->Perturbed != null) guided += a->PerturbedScale * (c - a->Perturbed[m]);
                lane[0] += c;
                lane[1] += c * c;
                lane[2] += guided;
                lane[3] += guided * guided;
            }
        }

        for (int s = 0; s < Sums; s++)
        {
            double sum = 0;
            for (int k = 0; k < Lanes; k++) sum += lanes[k * Sums + s];
            a->Partial[(long)item * Sums + s] = sum;
        }
    }

    private static double At(void* p, long i, bool isDouble) => isDouble ? ((double*)p)[i] : ((float*)p)[i];
}
