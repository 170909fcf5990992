namespace DiffusionCore.Runtime;

/// <summary>Binds the fused sampler step to host memory: turns the double coefficients into the kernel's.</summary>
internal static unsafe class CpuSamplerStep
{
    [ThreadStatic]
    private static float[]? thresholds;

    public static void Run(WorkerPool pool, in SamplerStepArguments s)
    {
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
        };
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
        first.Next = first.DenoisedOut != null ? first.DenoisedOut : throw new ArgumentException("thresholding needs DenoisedOut as work space", nameof(s));
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
                double quantile = AbsoluteQuantile(new Span<float>(a.DenoisedOut + (long)i * s.Elements, s.Elements), s.ThresholdRatio);
                t[i] = (float)Math.Min(Math.Max(quantile, 1), s.ThresholdMaximum);
            }

            a.Threshold = t;
            SamplerStep.Run(pool, a);
        }
    }

    // The size of a Langevin step needs the norms first: one pass that writes eps, then one update per image with its own size.
    private static void Langevin(WorkerPool pool, in SamplerStepArguments s, SamplerStep.Arguments a)
    {
        float* epsilon = a.DenoisedOut != null ? a.DenoisedOut : throw new ArgumentException("a Langevin step needs DenoisedOut as work space", nameof(s));
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
    private static double AbsoluteQuantile(Span<float> x, double ratio)
    {
        for (int i = 0; i < x.Length; i++) x[i] = MathF.Abs(x[i]);
        x.Sort();
        double at = ratio * (x.Length - 1);
        int below = (int)at;
        return below + 1 < x.Length ? x[below] + (at - below) * (x[below + 1] - x[below]) : x[below];
    }
}

/// <summary>A prediction as four numbers: denoised = A0 x + B0 m, eps = A1 x + B1 m; and eps = P x + Q denoised.</summary>
public readonly record struct StepNumbers(double A0, double B0, double A1, double B1, double P, double Q)
{
    /// <summary>As the update says, or for x = alpha*x0 + sigma*eps and what the network predicts.</summary>
    public static StepNumbers Of(in SamplerStepArguments s) => s.Numbers ?? Of(s.Prediction, s.Alpha, s.Sigma);

    public static StepNumbers Of(Prediction prediction, double alpha, double sigma)
    {
        double r = Math.Sqrt(alpha * alpha + sigma * sigma), p = 1 / sigma, q = -alpha / sigma;
        return prediction switch
        {
            Prediction.Epsilon => new(1 / alpha, -sigma / alpha, 0, 1, p, q),
            Prediction.Sample => new(0, 1, p, q, p, q),
            Prediction.V => new(alpha / (r * r), -sigma / r, sigma / (r * r), alpha / r, p, q),
            Prediction.Flow => new(1 / (alpha + sigma), -sigma / (alpha + sigma), 1 / (alpha + sigma), alpha / (alpha + sigma), p, q),
            _ => throw new ArgumentOutOfRangeException(nameof(prediction), prediction, "unknown"),
        };
    }
}
