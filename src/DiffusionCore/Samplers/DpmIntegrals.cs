using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers;

/// <summary>The four algorithms of DPM-Solver (Lu et al. 2022a, 2022b): whether denoised is extrapolated (++) or eps, and whether noise is added (sde).</summary>
internal readonly record struct DpmAlgorithm(bool Data, bool Noisy)
{
    /// <summary>Words of the other multistep classes stand for the default, as where the peers turn one class into another.</summary>
    public static string Word(SchedulerConfig config) => config.AlgorithmType is "deis" or "data_prediction" or "noise_prediction" ? "dpmsolver++" : config.AlgorithmType;

    public static DpmAlgorithm Of(SchedulerConfig config)
    {
        string word = Word(config);
        return new(word.EndsWith("++", StringComparison.Ordinal), word.StartsWith("sde", StringComparison.Ordinal));
    }

    public Kept Keeps => Data ? Kept.Denoised : Kept.Epsilon;
}

/// <summary>
/// One step of DPM-Solver from a level to another, h = the difference of lambda: x' = X*x + Phi1*m + Phi2*m' + Phi3*m'' + N*noise with the
/// estimate m (denoised or eps) at the start of the step and its first and second divided differences, in units of h.
/// </summary>
internal readonly record struct DpmIntegrals(double X, double Phi1, double Phi2, double Phi3, double N)
{
    public static DpmIntegrals Over(DpmAlgorithm algorithm, (double Alpha, double Sigma, double Lambda) from, (double Alpha, double Sigma, double Lambda) to)
    {
        double h = to.Lambda - from.Lambda;
        var result = algorithm switch
        {
            (true, false) => new DpmIntegrals(to.Sigma / from.Sigma, -to.Alpha * ExpM1(-h), to.Alpha * (ExpM1(-h) / h + 1), -to.Alpha * ((ExpM1(-h) + h) / (h * h) - 0.5), 0),
            // The expansion has +0.5 in the last term; the peers have -0.5, and third order is of no use then. Theirs is kept: the same seed gives the same image.
            (true, true) => new DpmIntegrals(
                to.Sigma / from.Sigma * (ExpM1(-h) + 1), -to.Alpha * ExpM1(-2 * h), to.Alpha * (ExpM1(-2 * h) / (2 * h) + 1),
                -to.Alpha * ((ExpM1(-2 * h) + 2 * h) / (4 * h * h) + 0.5), to.Sigma * Math.Sqrt(-ExpM1(-2 * h))),
            _ => Noise(algorithm.Noisy ? 2 : 1, to.Alpha / from.Alpha, to.Sigma, h),
        };
        return double.IsInfinity(h) || h == 0 ? result with { Phi2 = 0, Phi3 = 0 } : result;          // the step to zero noise is of first order
    }

    private static DpmIntegrals Noise(double factor, double x, double sigma, double h) => new(
        x, -factor * sigma * ExpM1(h), -factor * sigma * (ExpM1(h) / h - 1), -factor * sigma * ((ExpM1(h) - h) / (h * h) - 0.5), factor == 1 ? 0 : sigma * Math.Sqrt(ExpM1(2 * h)));
}
