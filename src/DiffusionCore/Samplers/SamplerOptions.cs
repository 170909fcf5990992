using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Samplers;

/// <summary>What a run asks of a sampler beyond the model's scheduler_config.json.</summary>
public sealed record SamplerOptions
{
    /// <summary>Steps of the schedule.</summary>
    public int Steps { get; init; } = 50;

    /// <summary>DDIM: 0 is deterministic, 1 as noisy as DDPM. TCD: share of each step that is drawn anew. Null for the sampler's own: 0, and 0.3 for TCD.</summary>
    public double? Eta { get; init; }

    /// <summary>LMS: estimates that a step uses at most, 1 to 4.</summary>
    public int Order { get; init; } = 4;

    /// <summary>Rectified flow with a dynamic shift: its logarithm (time_shift_type exponential) or itself (linear); null where <see cref="ImageTokens"/> tells it.</summary>
    public double? Shift { get; init; }

    /// <summary>Rectified flow with a dynamic shift: tokens of an image, from which the shift follows.</summary>
    public int? ImageTokens { get; init; }

    /// <summary>UnCLIP: whether each step goes back one training step only, whatever the spacing, as the class does when it is not told the next timestep.</summary>
    public bool SingleTrainingSteps { get; init; }

    /// <summary>Score SDE: whether the norms of the Langevin steps are means over the batch.</summary>
    public bool BatchNorms { get; init; }

    /// <summary>DDIM: whether eps follows the clipped estimate.</summary>
    public bool UseClippedModelOutput { get; init; }

    /// <summary>Steps left out at the start, for a start from an image.</summary>
    public int SkipSteps { get; init; }

    /// <summary>Explicit timesteps, falling; null for the schedule's own.</summary>
    public double[]? Timesteps { get; init; }

    /// <summary>Explicit noise levels, falling, with the final one; null for the schedule's own. Levels of rectified flow are shifted as its own are.</summary>
    public double[]? Sigmas { get; init; }

    /// <summary>Euler: churn of Karras et al. 2022, algorithm 2.</summary>
    public double Churn { get; init; }

    public double ChurnMinimum { get; init; }

    public double ChurnMaximum { get; init; } = double.PositiveInfinity;

    public double ChurnNoise { get; init; } = 1;

    /// <summary>Whose mathematics names stand for.</summary>
    public Compatibility Compatibility { get; init; }

    /// <summary>What the samplers on noise levels take beyond this; null for their own.</summary>
    public KOptions? Levels { get; init; }

    /// <summary>Karras and polyexponential schedules of noise levels: their exponent; null for 7 and 1.</summary>
    public double? Rho { get; init; }

    /// <summary>Order of a multistep solver that has one to choose, in place of the configuration's; null for that.</summary>
    public int? SolverOrder { get; init; }

    /// <summary>
    /// Shift of the noise levels, sigma' = shift*sigma, so the log-SNR of each by -2 ln(shift), as for images of another size (Hoogeboom et al. 2023). Levels beyond the
    /// model's largest and least stop there. Null and 1 for none.
    /// </summary>
    public double? SnrShift { get; init; }

    /// <summary>RePaint: steps that each jump goes back.</summary>
    public int JumpLength { get; init; } = 10;

    /// <summary>RePaint: how often each stretch is sampled.</summary>
    public int JumpSamples { get; init; } = 10;

    /// <summary>Fraction by which a level is raised before the step.</summary>
    internal double ChurnAt(double sigma, int steps) =>
        Churn > 0 && sigma >= ChurnMinimum && sigma <= ChurnMaximum ? Math.Min(Churn / steps, Math.Sqrt(2) - 1) : 0;

    internal void Check(SchedulerConfig config)
    {
        if (Timesteps is not null && Sigmas is not null) throw new UsageException("timesteps and sigmas exclude each other");
        if (Steps < 1 || (Steps > config.TrainSteps && Timesteps is null && Sigmas is null))
            throw new UsageException($"steps: expected 1 to {config.TrainSteps}, the steps that this model was trained with, found {Steps}");
        if (Eta is { } eta && !(eta >= 0 && eta <= 1)) throw new UsageException($"eta: expected a number from 0 to 1, found {Eta}");
        if (Order is < 1 or > 4) throw new UsageException($"order: expected 1 to 4, found {Order}");
        if (ImageTokens is < 1) throw new UsageException($"image tokens: expected 1 or more, found {ImageTokens}");
        if (Shift is { } shift && !double.IsFinite(shift)) throw new UsageException($"shift: expected a finite number, found {shift}");
        if (JumpLength < 1 || JumpSamples < 1) throw new UsageException($"jump: expected 1 or more steps and samples, found {JumpLength} and {JumpSamples}");
        if (SkipSteps < 0) throw new UsageException($"skipped steps: expected 0 or more, found {SkipSteps}");
        CheckFalling(Timesteps, "timesteps", 0, config.Prediction == Prediction.Flow ? config.TrainSteps : config.TrainSteps - 1);
        CheckFalling(Sigmas, "sigmas", 0, double.MaxValue);
        if (Sigmas is { Length: 1 }) throw new UsageException("sigmas: expected at least 2, a noise level and the final one, found 1");
        if (!(Churn >= 0 && ChurnNoise >= 0)) throw new UsageException(FormattableString.Invariant($"churn: expected 0 or more, found {Churn} with noise {ChurnNoise}"));
    }

    private static void CheckFalling(double[]? values, string name, double minimum, double maximum)
    {
        if (values is null) return;
        if (values.Length == 0) throw new UsageException($"{name}: the list is empty");
        for (int i = 0; i < values.Length; i++)
        {
            if (!(values[i] >= minimum && values[i] <= maximum)) throw new UsageException(FormattableString.Invariant($"{name}[{i}]: expected a number from {minimum} to {maximum}, found {values[i]}"));
            if (i > 0 && values[i] >= values[i - 1]) throw new UsageException(FormattableString.Invariant($"{name}[{i}]: {values[i]} does not fall below {values[i - 1]}"));
        }
    }
}
