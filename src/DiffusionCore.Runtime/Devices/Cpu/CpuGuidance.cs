namespace DiffusionCore.Runtime;

/// <summary>The reductions over each image that rescaled and projected guidance need before the update.</summary>
internal static unsafe class CpuGuidance
{
    [ThreadStatic]
    private static double[]? scratch, factors;

    /// <returns>Two numbers per image, valid until this thread's next call; null where guidance needs none.</returns>
    public static double[]? Factors(WorkerPool pool, in SamplerStepArguments s, void* sample, void* running)
    {
        if (s.Rescale <= 0 && s.Projected is null) return null;
        if (!s.Guided) throw new ArgumentException("rescaled and projected guidance need both branches", nameof(s));
        var f = StepNumbers.Of(s);
        long half = (long)s.Images * s.Elements * (s.VarianceChannels > 0 ? 2 : 1);
        float* model = ((CpuBuffer)s.Model).Floats;
        var p = s.Projected ?? default;
        var a = new GuidanceFactors.Arguments
        {
            Model = model + half, Unconditional = model, Perturbed = s.Perturbed ? model + 2 * half : null, Sample = sample, Running = running, Double = s.State == DType.F64, Projects = s.Projected is not null,
            Images = s.Images, Elements = s.Elements, VarianceChannels = s.VarianceChannels, Guidance = s.GuidanceScale, PerturbedScale = s.PerturbedScale, A0 = f.A0, B0 = f.B0,
            Rescale = s.Rescale, Threshold = p.Threshold, Momentum = p.Momentum, Parallel = p.Parallel,
        };
        int room = GuidanceFactors.Scratch(s.Images, s.Elements);
        if (scratch is null || scratch.Length < room) scratch = new double[room];
        if (factors is null || factors.Length < 2 * s.Images) factors = new double[2 * s.Images];
        fixed (double* partial = scratch, result = factors) GuidanceFactors.Run(pool, a, partial, result);
        return factors;
    }
}
