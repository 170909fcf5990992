using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Guidance;

/// <summary>What guidance a run asks for. The defaults are classifier-free guidance by one scale (Ho and Salimans 2022) and nothing else.</summary>
public sealed record GuidanceOptions
{
    /// <summary>w of u + w(c - u); 1 is the conditional prediction alone.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>A scale for each step, in place of <see cref="Scale"/>; a shorter list keeps its last.</summary>
    public double[]? Scales { get; init; }

    /// <summary>First and last noise level (sigma) at which guidance is on (Kynkaanniemi et al. 2024); outside it the scale is 1.</summary>
    public (double Low, double High)? Interval { get; init; }

    /// <summary>Share of the rescaled prediction, 0 to 1 (Lin et al. 2024, section 3.4; they use 0.7).</summary>
    public double Rescale { get; init; }

    /// <summary>Adaptive projected guidance; null for plain guidance.</summary>
    public ProjectedGuidance? Projected { get; init; }

    /// <exception cref="UsageException">A value out of range.</exception>
    public void Check()
    {
        if (!double.IsFinite(Scale)) throw new UsageException(FormattableString.Invariant($"guidance: expected a finite number, found {Scale}"));
        if (Scales is { Length: 0 }) throw new UsageException("guidance: the list of scales is empty");
        for (int i = 0; i < Scales?.Length; i++)
        {
            if (!double.IsFinite(Scales[i])) throw new UsageException(FormattableString.Invariant($"guidance[{i}]: expected a finite number, found {Scales[i]}"));
        }

        if (Interval is { } v && !(v.Low >= 0 && v.Low <= v.High)) throw new UsageException(FormattableString.Invariant($"guidance interval: expected 0 <= low <= high, found {v.Low} to {v.High}"));
        if (!(Rescale >= 0 && Rescale <= 1)) throw new UsageException(FormattableString.Invariant($"guidance rescale: expected a number from 0 to 1, found {Rescale}"));
        Projected?.Check();
    }

    /// <summary>The scale at a step and a noise level.</summary>
    public double At(int step, double sigma)
    {
        if (Interval is { } v && !(sigma >= v.Low && sigma <= v.High)) return 1;
        return Scales is null ? Scale : Scales[Math.Min(step, Scales.Length - 1)];
    }

    /// <summary>
    /// A plan whose evaluations carry these scales as rules over the run's own, so that the driver has one number per evaluation to hand to the fused step.
    /// Rules that the plan has already (CFG++) apply to the scale of the step.
    /// </summary>
    public SamplerPlan Apply(SamplerPlan plan)
    {
        Check();
        if (plan.Adaptive is not null)
            return Scales is null && Interval is null ? plan : throw new UsageException($"guidance: {plan.Name} chooses its steps as it goes; scales by step and intervals need a fixed schedule");
        return plan with
        {
            NeedsUnconditional = plan.NeedsUnconditional || plan.Evaluations.Any(e => At(e.Step, Level(e)) != 1),
            Evaluations = [.. plan.Evaluations.Select(e => e with { Guidance = new GuidanceRule(0, (e.Guidance ?? new GuidanceRule(1, 0)).Of(At(e.Step, Level(e)))) })],
        };
    }

    private static double Level(Evaluation e) => e.Alpha == 0 ? double.PositiveInfinity : e.Sigma / e.Alpha;
}
