using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Guidance;

/// <summary>
/// Guidance away from a worse version of the network itself, p: m + Scale*(c - p), beside classifier-free guidance or without it. The worse version
/// has the identity in place of self-attention maps in some layers (perturbed-attention guidance, Ahn et al. 2024, equation 16), or leaves some
/// blocks out (skip-layer guidance, as for Stable Diffusion 3.5). It is a third branch in the same batch.
/// </summary>
/// <param name="Kind">What is done to the layers.</param>
/// <param name="Scale">They use 3 for perturbed attention, 2.8 for skipped layers.</param>
/// <param name="Layers">
/// Prefixes of layer names as explain prints them, such as mid_block or down_blocks.2; a number is that transformer block; empty for the middle of the network.
/// </param>
public sealed record PerturbedGuidance(Perturbation Kind, double Scale, IReadOnlyList<string> Layers)
{
    /// <summary>First and last noise level (sigma) at which it is on; null for all.</summary>
    public (double Low, double High)? Interval { get; init; }

    /// <summary>The name that messages have for it.</summary>
    public string Name => Kind == Perturbation.Attention ? "pag" : "slg";

    public void Check()
    {
        if (!double.IsFinite(Scale)) throw new UsageException(FormattableString.Invariant($"{Name}: expected a finite scale, found {Scale}"));
        if (Interval is { } v && !(v.Low >= 0 && v.Low <= v.High)) throw new UsageException(FormattableString.Invariant($"{Name} interval: expected 0 <= low <= high, found {v.Low} to {v.High}"));
    }

    /// <summary>The scale at a noise level.</summary>
    public double At(double sigma) => Interval is { } v && !(sigma >= v.Low && sigma <= v.High) ? 0 : Scale;
}
