using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Sde;

/// <summary>
/// The forward processes of Song et al. 2021: dx = f(t) x dt + g(t) dw for t from 0 to 1, with x(t) = Mean(t) x0 + Deviation(t) z.
/// <code>
/// VP      f = -beta/2,  g^2 = beta,                       Mean = e^(-B/2), Deviation^2 = 1 - e^-B,   B = int_0^t beta = b0 t + (b1 - b0) t^2/2
/// sub-VP  f = -beta/2,  g^2 = beta (1 - e^(-2B)),         Mean = e^(-B/2), Deviation = 1 - e^-B
/// VE      f = 0,        g^2 = d sigma^2/dt,               Mean = 1,        Deviation = sigma = s0 (s1/s0)^t
/// </code>
/// </summary>
public sealed class ScoreProcess
{
    private readonly Kind kind;
    private readonly double low, high;

    private ScoreProcess(Kind kind, double low, double high) => (this.kind, this.low, this.high) = (kind, low, high);

    private enum Kind
    {
        VariancePreserving,
        SubVariancePreserving,
        VarianceExploding,
    }

    public static ScoreProcess VariancePreserving(double betaMin = 0.1, double betaMax = 20) => new(Kind.VariancePreserving, betaMin, Above(betaMin, betaMax, "beta"));

    public static ScoreProcess SubVariancePreserving(double betaMin = 0.1, double betaMax = 20) => new(Kind.SubVariancePreserving, betaMin, Above(betaMin, betaMax, "beta"));

    public static ScoreProcess VarianceExploding(double sigmaMin = 0.01, double sigmaMax = 50) => new(Kind.VarianceExploding, sigmaMin, Above(sigmaMin, sigmaMax, "sigma"));

    public bool Explodes => kind == Kind.VarianceExploding;

    /// <summary>Whether this is the sub-VP process, whose variance stays below the VP one's.</summary>
    public bool Damps => kind == Kind.SubVariancePreserving;

    /// <summary>Factor of x0 in x(t).</summary>
    public double Mean(double t) => Explodes ? 1 : DoubleMath.Exp(-Integral(t) / 2);

    /// <summary>Standard deviation of x(t) about its mean.</summary>
    public double Deviation(double t) => kind switch
    {
        Kind.VariancePreserving => Math.Sqrt(-SolverMath.ExpM1(-Integral(t))),
        Kind.SubVariancePreserving => -SolverMath.ExpM1(-Integral(t)),
        _ => low * SolverMath.Pow(high / low, t),
    };

    /// <summary>f(t).</summary>
    public double Drift(double t) => Explodes ? 0 : -Beta(t) / 2;

    /// <summary>g(t)^2.</summary>
    public double Diffusion(double t) => kind switch
    {
        Kind.VariancePreserving => Beta(t),
        Kind.SubVariancePreserving => -Beta(t) * SolverMath.ExpM1(-2 * Integral(t)),
        _ => 2 * DoubleMath.Log(high / low) * Deviation(t) * Deviation(t),
    };

    /// <summary>beta(t) of the preserving processes.</summary>
    public double Beta(double t) => low + (high - low) * t;

    private double Integral(double t) => low * t + (high - low) * t * t / 2;

    private static double Above(double low, double high, string name) =>
        low > 0 && high > low && double.IsFinite(high) ? high : throw new UsageException(FormattableString.Invariant($"{name}: expected 0 < least < largest, found {low} and {high}"));
}
