using System.Numerics;

namespace DiffusionCore.Runtime;

/// <summary>Binds the fused sampler step to host memory: turns the double coefficients into the kernel's.</summary>
internal static unsafe class CpuSamplerStep
{
    [ThreadStatic]
    private static float[]? thresholds, factors;

    public static void Run(WorkerPool pool, in SamplerStepArguments s)
    {
        if (s.State == DType.F64)
        {
            CpuSamplerStepDouble.Run(pool, s);
            return;
        }

        var f = StepNumbers.Of(s);
        long half = (long)s.Images * s.Elements * (s.VarianceChannels > 0 ? 2 : 1);
        float* model = At(s.Model);
        var a = new SamplerStep.Arguments
        {
            Sample = At(s.Sample), Model = s.Guided ? model + half : model, Unconditional = s.Guided ? model : null, Next = At(s.Next),
            History1 = s.H1 != 0 ? At(s.History1) : null, History2 = s.H2 != 0 ? At(s.History2) : null, History3 = s.H3 != 0 ? At(s.History3) : null,
            Noise = s.N != 0 || s.Known is not null ? At(s.Noise) : null, Known = At(s.Known), Mask = At(s.Mask), KnownSignal = (float)s.KnownSignal, KnownNoise = (float)s.KnownNoise, DenoisedOut = At(s.DenoisedOut), EpsilonOut = At(s.EpsilonOut), SampleOut = At(s.SampleOut),
            Images = s.Images, Elements = s.Elements, Guidance = (float)s.GuidanceScale,
            A0 = (float)f.A0, B0 = (float)f.B0, A1 = (float)f.A1, B1 = (float)f.B1, P = (float)f.P, Q = (float)f.Q,
            Clip = (float)s.Clip, Rederive = s.ClipRederivesEpsilon,
            X = (float)s.X, D = (float)s.D, E = (float)s.E, H1 = (float)s.H1, H2 = (float)s.H2, H3 = (float)s.H3, N = (float)s.N,
            VarianceChannels = s.VarianceChannels, VarianceMinLog = (float)s.VarianceMinLog, VarianceMaxLog = (float)s.VarianceMaxLog,
            Perturbed = s.Perturbed ? model + (s.Guided ? 2 : 1) * half : null, PerturbedScale = (float)s.PerturbedScale, Projects = s.Projected is not null,
            Running = At(s.Running), Momentum = (float)(s.Projected?.Momentum ?? 0), KeepsRunning = s.Running is not null,
        };
        if (CpuGuidance.Factors(pool, s, At(s.Sample), At(s.Running)) is { } wide)
        {
            if (factors is null || factors.Length < 2 * s.Images) factors = new float[2 * s.Images];
            for (int i = 0; i < 2 * s.Images; i++) factors[i] = (float)wide[i];
        }
        else
        {
            factors ??= [];
        }

        fixed (float* given = factors)
        {
            if (s.Rescale > 0 || s.Projected is not null) a.Factors = given;
            Reduced(pool, s, a);
        }
    }

    // The update, after what else it needs to know of each image first.
    private static void Reduced(WorkerPool pool, in SamplerStepArguments s, SamplerStep.Arguments a)
    {
        if (s.LangevinRatio > 0)
        {
            Langevin(pool, s, a);
            return;
        }

        if (s.ThresholdRatio <= 0)
        {
            SamplerStep.Run(pool, a);
            return;
        }

        // A quantile needs the denoised estimate first: one pass that writes it where the update will overwrite it.
        if (thresholds is null || thresholds.Length < s.Images) thresholds = new float[s.Images];
        var first = a;
        float* work = s.Work is not null ? At(s.Work) : a.DenoisedOut;
        first.Next = work != null ? work : throw new ArgumentException("thresholding needs Work or DenoisedOut as work space", nameof(s));
        first.KeepsRunning = false;
        first.X = first.E = first.H1 = first.H2 = first.H3 = 0;
        first.D = 1;
        first.Noise = first.History1 = first.History2 = first.History3 = first.Known = first.Mask = null;
        first.DenoisedOut = first.EpsilonOut = first.SampleOut = null;
        first.Clip = float.PositiveInfinity;
        SamplerStep.Run(pool, first);
        fixed (float* t = thresholds)
        {
            for (int i = 0; i < s.Images; i++)
            {
                double quantile = AbsoluteQuantile(new Span<float>(work + (long)i * s.Elements, s.Elements), s.ThresholdRatio);
                t[i] = (float)Math.Min(Math.Max(quantile, 1), s.ThresholdMaximum);
            }

            a.Threshold = t;
            SamplerStep.Run(pool, a);
        }
    }

    // The size of a Langevin step needs the norms first: one pass that writes eps, then one update per image with its own size.
    private static void Langevin(WorkerPool pool, in SamplerStepArguments s, SamplerStep.Arguments a)
    {
        float* epsilon = s.Work is not null ? At(s.Work) : a.DenoisedOut;
        if (epsilon == null) throw new ArgumentException("a Langevin step needs Work or DenoisedOut as work space", nameof(s));
        var first = a with { Next = epsilon, X = 0, D = 0, E = 1, History1 = null, History2 = null, History3 = null, Noise = null, Known = null, Mask = null, DenoisedOut = null, EpsilonOut = null, SampleOut = null };
        SamplerStep.Run(pool, first);
        double gradient = 0, noise = 0;
        for (int i = 0; s.BatchNorms && i < s.Images; i++)
        {
            gradient += Norm(epsilon + (long)i * s.Elements, s.Elements) / s.Images;
            noise += Norm(a.Noise + (long)i * s.Elements, s.Elements) / s.Images;
        }

        for (int i = 0; i < s.Images; i++)
        {
            long at = (long)i * s.Elements;
            double ratio = s.LangevinRatio * (s.BatchNorms ? noise / gradient : Norm(a.Noise + at, s.Elements) / Norm(epsilon + at, s.Elements)), size = 2 * ratio * ratio;
            // eps is at hand, so it serves as a history term and the network's output is not read again.
            SamplerStep.Run(pool, a with
            {
                Images = 1,
                Sample = a.Sample + at,
                Model = a.Model + at,
                Unconditional = a.Unconditional == null ? null : a.Unconditional + at,
                Next = a.Next + at,
                Noise = a.Noise + at,
                Known = a.Known == null ? null : a.Known + at,
                Mask = a.Mask == null ? null : a.Mask + at,
                History1 = epsilon + at,
                H1 = (float)(s.E * size),
                E = 0,
                Perturbed = null,
                Factors = null,
                Running = null,
                KeepsRunning = false,
                History2 = null,
                History3 = null,
                DenoisedOut = null,
                EpsilonOut = null,
                SampleOut = null,
                N = (float)(s.N * Math.Sqrt(2 * size)),
            });
        }
    }

    // 16 partial sums in a fixed order.
    private static double Norm(float* x, int count)
    {
        double* lanes = stackalloc double[16];
        new Span<double>(lanes, 16).Clear();
        for (int i = 0; i < count; i++) lanes[i % 16] += (double)x[i] * x[i];
        double sum = 0;
        for (int i = 0; i < 16; i++) sum += lanes[i];
        return Math.Sqrt(sum);
    }

    private static float* At(DeviceBuffer? buffer) => buffer is null ? null : ((CpuBuffer)buffer).Floats;

    // Sorts its argument; linear interpolation between neighbours.
    internal static double AbsoluteQuantile<T>(Span<T> x, double ratio)
        where T : INumber<T>
    {
        for (int i = 0; i < x.Length; i++) x[i] = T.Abs(x[i]);
        x.Sort();
        double at = ratio * (x.Length - 1);
        int below = (int)at;
        double low = double.CreateTruncating(x[below]);
        return below + 1 < x.Length ? low + (at - below) * double.CreateTruncating(x[below + 1] - x[below]) : low;
    }
}
