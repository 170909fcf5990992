using DiffusionCore.Kernels.Host;
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

    /// <summary>A course of the scale over the steps, in place of <see cref="Scale"/> and <see cref="Scales"/>.</summary>
    public GuidanceCourse? Course { get; init; }

    /// <summary>Adaptive projected guidance; null for plain guidance.</summary>
    public ProjectedGuidance? Projected { get; init; }

    /// <summary>Guidance away from a worse version of the network; null for none.</summary>
    public PerturbedGuidance? Perturbed { get; init; }

    /// <summary>Dynamic thresholding of the guided estimate (Saharia et al. 2022): share of |x0| below the threshold, and the largest threshold. Null for the model's own.</summary>
    public (double Ratio, double Maximum)? Threshold { get; init; }

    /// <summary>Whether one scale is all that is asked for.</summary>
    public bool IsPlain => this with { Scale = 1 } == new GuidanceOptions();

    /// <summary>Whether any step's scale satisfies a condition.</summary>
    public bool AnyScale(Predicate<double> condition) => Course is { } c ? condition(c.From) || condition(c.To) : Scales is null ? condition(Scale) : Array.Exists(Scales, condition);

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
        if (Course is { } c && !(double.IsFinite(c.From) && double.IsFinite(c.To))) throw new UsageException(FormattableString.Invariant($"guidance: expected finite numbers, found {c.From} to {c.To}"));
        if (Threshold is { } t && !(t.Ratio > 0 && t.Ratio <= 1)) throw new UsageException(FormattableString.Invariant($"threshold: expected a share above 0 and up to 1, found {t.Ratio}"));
        if (Threshold is { } m && !(m.Maximum >= 1)) throw new UsageException(FormattableString.Invariant($"threshold: expected a maximum of 1 or more, found {m.Maximum}"));
        if (Projected is not null && Rescale > 0) throw new UsageException("guidance rescale: projected guidance (apg) replaces it; use one of them");
        if (Projected is not null && Perturbed is not null) throw new UsageException($"{Perturbed.Name}: projected guidance (apg) takes two branches; use one of them");
        Projected?.Check();
        Perturbed?.Check();
    }

    /// <summary>The scale at a step of a number of steps, and a noise level.</summary>
    public double At(int step, double sigma, int steps = 1)
    {
        if (Interval is { } v && !(sigma >= v.Low && sigma <= v.High)) return 1;
        if (Course is { } course) return course.At(step, steps);
        return Scales is null ? Scale : Scales[Math.Min(step, Scales.Length - 1)];
    }

    /// <summary>
    /// A plan whose evaluations carry these scales as rules over the run's own, so that the driver has one number per evaluation to hand to the fused
    /// step; and the form of guidance and thresholds. Rules that the plan has already (CFG++) apply to the scale of the step.
    /// </summary>
    /// <exception cref="UsageException">Values out of range, or what the sampler cannot do.</exception>
    public SamplerPlan Apply(SamplerPlan plan)
    {
        Check();
        bool formed = Rescale > 0 || Projected is not null || Perturbed is not null;
        if (plan.CombinesBranches && (formed || Threshold is not null))
            throw new UsageException($"guidance: {plan.Name} puts both branches together itself (CFG++); it takes no rescaling, thresholds, apg, pag or slg");
        if (Threshold is { } threshold) plan = plan with { ThresholdRatio = threshold.Ratio, ThresholdMaximum = threshold.Maximum, ClipRederivesEpsilon = true };
        if (formed) plan = plan with { Form = new GuidanceForm(Rescale, Projected, Perturbed) };
        if (plan.Adaptive is not null)
        {
            if (Scales is not null || Course is not null || Interval is not null || Perturbed?.Interval is not null) throw new UsageException($"guidance: {plan.Name} chooses its steps as it goes; scales by step and intervals need a fixed schedule");
            return Projected is { Momentum: not 0 } ? throw new UsageException($"apg momentum: {plan.Name} takes steps back; momentum needs a fixed schedule") : plan;
        }

        return plan with
        {
            NeedsUnconditional = plan.NeedsUnconditional || plan.Evaluations.Any(e => At(e.Step, e.Level, plan.Steps) != 1),
            Evaluations = [.. plan.Evaluations.Select(e => e with
            {
                Guidance = new GuidanceRule(0, (e.Guidance ?? new GuidanceRule(1, 0)).Of(At(e.Step, e.Level, plan.Steps))),
                PerturbedScale = Perturbed?.At(e.Level),
            })],
        };
    }
}

/// <summary>A guidance scale that goes from one number at the first step to another at the last, straight or along half a cosine.</summary>
public readonly record struct GuidanceCourse(double From, double To, bool Cosine)
{
    public double At(int step, int steps)
    {
        double share = steps > 1 ? Math.Clamp((double)step / (steps - 1), 0, 1) : 0;
        if (Cosine) share = (1 - DoubleMath.SinCos(Math.PI * share).Cos) / 2;
        return From + share * (To - From);
    }
}
