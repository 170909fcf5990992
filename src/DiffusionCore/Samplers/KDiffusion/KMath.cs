using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>Formulas that several solvers on noise levels share.</summary>
internal static class KMath
{
    /// <summary>lambda = -ln sigma.</summary>
    public static double Lambda(double sigma) => -DoubleMath.Log(sigma);

    public static double Sigma(double lambda) => DoubleMath.Exp(-lambda);

    /// <summary>
    /// An ancestral step: go down to a level below the wanted one, then add noise. With eta = 1 the two together have the variance of the
    /// posterior under x0; eta = 0 goes straight.
    /// </summary>
    public static (double Down, double Up) Ancestral(double from, double to, double eta)
    {
        if (eta == 0 || to == 0) return (to, 0);
        double up = Math.Min(to, eta * Math.Sqrt(to * to * (from * from - to * to) / (from * from)));
        return (Math.Sqrt(Math.Max(0, to * to - up * up)), up);
    }

    /// <summary>The level halfway in ln sigma.</summary>
    public static double Between(double a, double b) => DoubleMath.Exp(DoubleMath.Log(a) + 0.5 * (DoubleMath.Log(b) - DoubleMath.Log(a)));

    /// <summary>Churn: the raised level and the noise that leads there; the noise is drawn whether or not the level rises, so that runs that differ in churn alone share the rest.</summary>
    public static double Churn(PlanTape tape, KOptions options, int step, double sigma, int steps)
    {
        bool raised = options.Churn > 0 && sigma >= options.ChurnMinimum && sigma <= options.ChurnMaximum;
        double hat = raised ? sigma * (1 + Math.Min(options.Churn / steps, Math.Sqrt(2) - 1)) : sigma;
        if (options.Churn > 0) tape.Noise(step, raised ? options.NoiseScale * Math.Sqrt(hat * hat - sigma * sigma) : 0);
        return hat;
    }
}
