using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Sde;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>What the samplers on noise levels take beyond their levels; names of the paper or of k-diffusion. Null is the sampler's own.</summary>
public sealed record KOptions
{
    /// <summary>Share of the noise that a step adds anew: 0 is deterministic, 1 the ancestral sampler.</summary>
    public double? Eta { get; init; }

    /// <summary>Factor of added noise.</summary>
    public double NoiseScale { get; init; } = 1;

    /// <summary>Churn of Karras et al. 2022, algorithm 2, between two noise levels.</summary>
    public double Churn { get; init; }

    public double ChurnMinimum { get; init; }

    public double ChurnMaximum { get; init; } = double.PositiveInfinity;

    /// <summary>Order of linear multistep (1 to 8; 4 by default), the adaptive solver (2 or 3; 3) and er_sde (1 to 3; 3).</summary>
    public int? Order { get; init; }

    /// <summary>Where the inner evaluation of a two-stage step lies, as a share of the step in ln sigma.</summary>
    public double R { get; init; } = 0.5;

    /// <summary>Second-order correction of the SDE forms: heun, else midpoint.</summary>
    public bool Heun { get; init; }

    /// <summary>Gradient estimation: weight of the new direction, 2 by default.</summary>
    public double? Gamma { get; init; }

    /// <summary>Restart: the intervals; null for those that A1111 chooses from 20 steps on.</summary>
    public IReadOnlyList<RestartInterval>? Restarts { get; init; }

    /// <summary>Tolerances of adaptive steps: 0.05 and 0.0078 for dpm_adaptive, 1e-5 both for rk45, where null.</summary>
    public double? RelativeTolerance { get; init; }

    public double? AbsoluteTolerance { get; init; }

    /// <summary>First step of the adaptive solver in ln sigma.</summary>
    public double FirstStep { get; init; } = 0.05;

    /// <summary>Gains of the step controller.</summary>
    public double Proportional { get; init; }

    public double Integral { get; init; } = 1;

    public double Derivative { get; init; }

    public double AcceptSafety { get; init; } = 0.81;

    /// <exception cref="UsageException">A value out of range.</exception>
    internal void Check()
    {
        Range("eta", Eta ?? 0, 0, 1e3);
        Range("noise scale", NoiseScale, 0, 1e3);
        Range("churn", Churn, 0, 1e6);
        if (!(ChurnMinimum <= ChurnMaximum)) throw new UsageException(FormattableString.Invariant($"churn: the least noise level {ChurnMinimum} lies above the largest {ChurnMaximum}"));
        Range("r", R, 1e-3, 1);
        Range("gamma", Gamma ?? 1, 0, 10);
        Range("rtol", RelativeTolerance ?? 0, 0, 1);
        Range("atol", AbsoluteTolerance ?? 1, 1e-12, 1e3);
        Range("first step", FirstStep, 1e-6, 1e3);
        Range("accept safety", AcceptSafety, 1e-3, 1);
    }

    private static void Range(string name, double value, double minimum, double maximum)
    {
        if (!(value >= minimum && value <= maximum)) throw new UsageException(FormattableString.Invariant($"{name}: expected a number from {minimum} to {maximum}, found {value}"));
    }
}
