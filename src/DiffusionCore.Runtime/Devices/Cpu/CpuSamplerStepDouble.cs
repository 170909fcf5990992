namespace DiffusionCore.Runtime;

/// <summary>Binds the fused sampler step on a state in double to host memory.</summary>
internal static unsafe class CpuSamplerStepDouble
{
    [ThreadStatic]
    private static double[]? thresholds;

    public static void Run(WorkerPool pool, in SamplerStepArguments s)
    {
        var f = StepNumbers.Of(s);
        long half = (long)s.Images * s.Elements * (s.VarianceChannels > 0 ? 2 : 1);
        // Without the network's output the latent stands in, times zero; as floats it may be any number, so it is not read as such.
        bool reads = !ReferenceEquals(s.Model, s.Sample);
        float* model = reads ? ((CpuBuffer)s.Model).Floats : throw new ArgumentException("an F64 state needs a model output of its own, F32", nameof(s));
        var a = new SamplerStepDouble.Arguments
        {
            Sample = At(s.Sample), Model = s.Guided ? model + half : model, Unconditional = s.Guided ? model : null, Next = At(s.Next), NextSingle = s.NextSingle is null ? null : ((CpuBuffer)s.NextSingle).Floats,
            Perturbed = s.Perturbed ? model + (s.Guided ? 2 : 1) * half : null, PerturbedScale = s.PerturbedScale, Projects = s.Projected is not null, Running = At(s.Running), KeepsRunning = s.Running is not null,
            Momentum = s.Projected?.Momentum ?? 0, History1 = s.H1 != 0 ? At(s.History1) : null, History2 = s.H2 != 0 ? At(s.History2) : null, History3 = s.H3 != 0 ? At(s.History3) : null,
            Noise = s.N != 0 || s.Known is not null ? At(s.Noise) : null, Known = At(s.Known), Mask = At(s.Mask), KnownSignal = s.KnownSignal, KnownNoise = s.KnownNoise,
            DenoisedOut = At(s.DenoisedOut), EpsilonOut = At(s.EpsilonOut), SampleOut = At(s.SampleOut), Images = s.Images, Elements = s.Elements, Guidance = s.GuidanceScale,
            A0 = f.A0, B0 = f.B0, A1 = f.A1, B1 = f.B1, P = f.P, Q = f.Q, Clip = s.Clip, Rederive = s.ClipRederivesEpsilon,
            X = s.X, D = s.D, E = s.E, H1 = s.H1, H2 = s.H2, H3 = s.H3, N = s.N, VarianceChannels = s.VarianceChannels, VarianceMinLog = s.VarianceMinLog, VarianceMaxLog = s.VarianceMaxLog,
        };
        fixed (double* factors = CpuGuidance.Factors(pool, s, a.Sample, a.Running))
        {
            a.Factors = factors;
            if (s.LangevinRatio > 0) Langevin(pool, s, a);
            else if (s.ThresholdRatio > 0) Threshold(pool, s, a);
            else SamplerStepDouble.Run(pool, a);
        }
    }

    private static void Threshold(WorkerPool pool, in SamplerStepArguments s, SamplerStepDouble.Arguments a)
    {
        if (thresholds is null || thresholds.Length < s.Images) thresholds = new double[s.Images];
        double* work = At(CpuImageReductions.Work(s));
        SamplerStepDouble.Run(pool, Alone(a) with { Next = work, D = 1, Clip = double.PositiveInfinity, KeepsRunning = false });
        fixed (double* t = thresholds)
        {
            for (int i = 0; i < s.Images; i++) t[i] = CpuImageReductions.Threshold(s, work + (long)i * s.Elements);
            a.Threshold = t;
            SamplerStepDouble.Run(pool, a);
        }
    }

    private static void Langevin(WorkerPool pool, in SamplerStepArguments s, SamplerStepDouble.Arguments a)
    {
        double* epsilon = At(CpuImageReductions.Work(s));
        SamplerStepDouble.Run(pool, Alone(a) with { Next = epsilon, E = 1 });
        double[] sizes = CpuImageReductions.LangevinSizes(s, a.Noise, epsilon);
        for (int i = 0; i < s.Images; i++)
        {
            long at = (long)i * s.Elements;
            SamplerStepDouble.Run(pool, a with
            {
                Images = 1,
                Sample = a.Sample + at,
                Model = a.Model + at,
                Unconditional = null,
                Perturbed = null,
                Factors = null,
                Projects = false,
                Running = null,
                KeepsRunning = false,
                Next = a.Next + at,
                NextSingle = a.NextSingle == null ? null : a.NextSingle + at,
                Noise = a.Noise + at,
                Known = a.Known == null ? null : a.Known + at,
                Mask = a.Mask == null ? null : a.Mask + at,
                History1 = epsilon + at,
                H1 = s.E * sizes[i],
                E = 0,
                History2 = null,
                History3 = null,
                DenoisedOut = null,
                EpsilonOut = null,
                SampleOut = null,
                N = s.N * Math.Sqrt(2 * sizes[i]),
            });
        }
    }

    // As that of the F32 step.
    private static SamplerStepDouble.Arguments Alone(SamplerStepDouble.Arguments a) => a with
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
        NextSingle = null,
    };

    private static double* At(DeviceBuffer? buffer) => buffer is null ? null : (double*)((CpuBuffer)buffer).Pointer;
}
