// One sampler update in one pass over the latent: guidance, prediction, clipping, update, noise, history.
//
//   m    = u + g (c - u)                                   (guided; else m = c)
//   m    = m + q (c - p),   m = f m                        (a perturbed branch p; rescaled by a factor f of the image)
//   d    = B0 (c - u) + mu r;  x0 = a (A0 x + B0 c) + b d;  eps = P x + Q x0;  r = d     (projected guidance, a and b of the image)
//   x0   = A0 x + B0 m,   eps = A1 x + B1 m                (what the network predicts, as four numbers)
//   x0   = clamp(x0, -clip, clip) or clamp(x0, -s, s)/s    (static, or dynamic with a threshold s per image); eps = P x + Q x0 again
//   x'   = X x + D x0 + E eps + H1 h1 + H2 h2 + H3 h3 + N noise
//   x'   = x' + k (S known + T noise - x')                (a part of the image is given, mask k)
//
//   all: [images][elements], channels last; the model's output has 2C channels where it also predicts the variance. Guided: u first, then c; p after it.
//
// Work split  one thread per element.
// Numerics    coefficients arrive rounded from double; sums in the order above. A thread reads its elements before it writes, so x' may be x.
// Roofline    4 (x + m [+ u] [+ p] [+ 2 r] + noise + histories + x' [+ x0]) bytes per element, about 20 flops: memory bound.
using ILGPU;

namespace DiffusionCore.Kernels;

public static class SamplerStepKernel
{
    public struct Arguments
    {
        /// <summary>Elements of all latents, and of one.</summary>
        public int Count, Elements;

        /// <summary>1 where guided; then the conditional output begins at element <see cref="Conditional"/>.</summary>
        public int Guided, Conditional;

        public float Guidance, A0, B0, A1, B1, P, Q;

        /// <summary>0 none, 1 by <see cref="Clip"/>, 2 by the threshold of the image, with the division.</summary>
        public int Clips;

        public float Clip;

        /// <summary>1 where eps follows the clamped estimate.</summary>
        public int Rederive;

        public float X, D, E, H1, H2, H3, N;

        /// <summary>1 where there is one; a view that is not there may be any.</summary>
        public int History1, History2, History3, Noise, KeepDenoised, KeepEpsilon, KeepSample;

        /// <summary>1 where a part of the image is given; its signal and noise factors.</summary>
        public int Known;

        public float KnownSignal, KnownNoise;

        /// <summary>Channels of a latent where the model also predicts the variance, else 0; log variance = (v + 1)/2*(max - min) + min.</summary>
        public int VarianceChannels;

        public float VarianceMinLog, VarianceMaxLog;

        /// <summary>First element of the perturbed branch where <see cref="HasPerturbed"/> is 1.</summary>
        public int HasPerturbed, Perturbed;

        public float PerturbedScale;

        /// <summary>
        /// Numbers of the images begin at this element: a threshold each, and from <see cref="FactorsAt"/> on two factors each. Before them lies the running
        /// difference of projected guidance where there is one: a kernel takes no more views than it has.
        /// </summary>
        public int NumbersAt, FactorsAt;

        /// <summary>0 none, 1 the rescaling factor, 2 the factors of projected guidance.</summary>
        public int Factors;

        /// <summary>1 where there is a running difference; 1 where it is written back.</summary>
        public int HasRunning, KeepRunning;

        public float Momentum;
    }

    [GpuKernel]
    public static void Run(
        ArrayView<float> sample, ArrayView<float> model, ArrayView<float> history1, ArrayView<float> history2, ArrayView<float> history3, ArrayView<float> noise,
        ArrayView<float> known, ArrayView<float> mask, ArrayView<float> numbers, ArrayView<float> next, ArrayView<float> denoisedOut, ArrayView<float> epsilonOut, ArrayView<float> sampleOut, Arguments a)
    {
        int i = Grid.GlobalIndex.X;
        if (i >= a.Count) return;
        int at = i;
        if (a.VarianceChannels != 0) at = i / a.VarianceChannels * 2 * a.VarianceChannels + i % a.VarianceChannels;
        float x = sample[i], m = model[at], c = m, difference = 0f;
        if (a.Guided != 0)
        {
            c = model[a.Conditional + at];
            difference = c - m;
            m = a.Guidance * difference + m;
        }

        if (a.HasPerturbed != 0) m = a.PerturbedScale * (c - model[a.Perturbed + at]) + m;
        int factor = a.NumbersAt + a.FactorsAt + i / a.Elements * 2;
        if (a.Factors == 1) m *= numbers[factor];
        float denoised = a.A0 * x + a.B0 * m, epsilon = a.A1 * x + a.B1 * m;
        if (a.Factors == 2)
        {
            difference *= a.B0;
            if (a.HasRunning != 0)
            {
                difference = a.Momentum * numbers[i] + difference;
                if (a.KeepRunning != 0) numbers[i] = difference;
            }

            denoised = numbers[factor + 1] * difference + numbers[factor] * (a.A0 * x + a.B0 * c);
            epsilon = a.P * x + a.Q * denoised;
        }

        if (a.Clips != 0)
        {
            float bound = a.Clips == 2 ? numbers[a.NumbersAt + i / a.Elements] : a.Clip;
            if (!FloatMath.IsNaN(denoised)) denoised = denoised > bound ? bound : denoised < -bound ? -bound : denoised;
            if (a.Clips == 2) denoised /= bound;
            if (a.Rederive != 0) epsilon = a.P * x + a.Q * denoised;
        }

        float y = a.X * x + a.D * denoised;
        if (a.E != 0f) y = a.E * epsilon + y;
        if (a.History1 != 0) y = a.H1 * history1[i] + y;
        if (a.History2 != 0) y = a.H2 * history2[i] + y;
        if (a.History3 != 0) y = a.H3 * history3[i] + y;
        if (a.Noise != 0)
        {
            float scale = a.N;
            if (a.VarianceChannels != 0)
            {
                float share = 0.5f * model[(a.Guided != 0 ? a.Conditional : 0) + at + a.VarianceChannels] + 0.5f;
                scale *= FloatMath.Exp(0.5f * (share * (a.VarianceMaxLog - a.VarianceMinLog) + a.VarianceMinLog));
            }

            y = scale * noise[i] + y;
        }

        if (a.Known != 0)
        {
            float given = a.KnownSignal * known[i] + a.KnownNoise * noise[i];
            y = mask[i] * (given - y) + y;
        }

        if (a.KeepDenoised != 0) denoisedOut[i] = denoised;
        if (a.KeepEpsilon != 0) epsilonOut[i] = epsilon;
        if (a.KeepSample != 0) sampleOut[i] = x;
        next[i] = y;
    }
}
