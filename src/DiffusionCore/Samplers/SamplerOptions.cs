using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>What a run asks of a sampler beyond the model's scheduler_config.json.</summary>
public sealed record SamplerOptions
{
    /// <summary>Steps of the schedule.</summary>
    public int Steps { get; init; } = 50;

    /// <summary>DDIM: 0 is deterministic, 1 as noisy as DDPM.</summary>
    public double Eta { get; init; }

    /// <summary>DDIM: whether eps follows the clipped estimate.</summary>
    public bool UseClippedModelOutput { get; init; }

    /// <summary>Steps left out at the start, for a start from an image.</summary>
    public int SkipSteps { get; init; }

    /// <summary>Explicit timesteps, falling; null for the schedule's own.</summary>
    public double[]? Timesteps { get; init; }

    /// <summary>Explicit noise levels, falling, with the final one; null for the schedule's own.</summary>
    public double[]? Sigmas { get; init; }

    /// <summary>Euler: churn of Karras et al. 2022, algorithm 2.</summary>
    public double Churn { get; init; }

    public double ChurnMinimum { get; init; }

    public double ChurnMaximum { get; init; } = double.PositiveInfinity;

    public double ChurnNoise { get; init; } = 1;

    internal void Check(SchedulerConfig config)
    {
        if (Timesteps is not null && Sigmas is not null) throw new UsageException("timesteps and sigmas exclude each other");
        if (Steps < 1 || (Steps > config.TrainSteps && Timesteps is null && Sigmas is null))
            throw new UsageException($"steps: expected 1 to {config.TrainSteps}, the steps that this model was trained with, found {Steps}");
        if (!(Eta >= 0 && Eta <= 1)) throw new UsageException($"eta: expected a number from 0 to 1, found {Eta}");
        if (SkipSteps < 0) throw new UsageException($"skipped steps: expected 0 or more, found {SkipSteps}");
        CheckFalling(Timesteps, "timesteps", 0, config.TrainSteps - 1);
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
