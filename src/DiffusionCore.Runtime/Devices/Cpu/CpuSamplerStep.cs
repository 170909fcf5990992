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
        float[]? narrow = null;
        if (CpuGuidance.Factors(pool, s, At(s.Sample), At(s.Running)) is { } wide)
        {
            if (factors is null || factors.Length < 2 * s.Images) factors = new float[2 * s.Images];
            for (int i = 0; i < 2 * s.Images; i++) factors[i] = (float)wide[i];
            narrow = factors;
        }

        fixed (float* given = narrow)
        {
            a.Factors = given;
            if (s.LangevinRatio > 0) Langevin(pool, s, a);
            else if (s.ThresholdRatio > 0) Threshold(pool, s, a);
            else SamplerStep.Run(pool, a);
        }
    }

    // A quantile needs the denoised estimate first: one pass that writes it where the update will overwrite it.
    private static void Threshold(WorkerPool pool, in SamplerStepArguments s, SamplerStep.Arguments a)
    {
        if (thresholds is null || thresholds.Length < s.Images) thresholds = new float[s.Images];
        float* work = CpuImageReductions.Work(s).Floats;
        SamplerStep.Run(pool, Alone(a) with { Next = work, D = 1, Clip = float.PositiveInfinity, KeepsRunning = false });
        fixed (float* t = thresholds)
        {
            for (int i = 0; i < s.Images; i++) t[i] = (float)CpuImageReductions.Threshold(s, work + (long)i * s.Elements);
            a.Threshold = t;
            SamplerStep.Run(pool, a);
        }
    }

    // The size of a Langevin step needs the norms first: one pass that writes eps, then one update per image with its own size.
    private static void Langevin(WorkerPool pool, in SamplerStepArguments s, SamplerStep.Arguments a)
    {
        float* epsilon = CpuImageReductions.Work(s).Floats;
        SamplerStep.Run(pool, Alone(a) with { Next = epsilon, E = 1 });
        double[] sizes = CpuImageReductions.LangevinSizes(s, a.Noise, epsilon);
        for (int i = 0; i < s.Images; i++)
        {
            long at = (long)i * s.Elements;
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
                H1 = (float)(s.E * sizes[i]),
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
                N = (float)(s.N * Math.Sqrt(2 * sizes[i])),
            });
        }
    }

    // The arguments of a pass before the update that adds nothing and writes nothing but Next.
    private static SamplerStep.Arguments Alone(SamplerStep.Arguments a) => a with
    {
        X = 0,
        D = 0,
        E = 0,
        History1 = null,
        History2 = null,
        History3 = null,
        Noise = null,
        Known = null,
        Mask = null,
        DenoisedOut = null,
        EpsilonOut = null,
        SampleOut = null,
    };

    private static float* At(DeviceBuffer? buffer) => buffer is null ? null : ((CpuBuffer)buffer).Floats;
}
