using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// The noise levels of a run on x = x0 + sigma*eps, and how the network is asked at any level between them. Solvers that evaluate inside a step
/// need the second; the first alone is a schedule.
/// </summary>
/// <param name="Sigmas">Falling; the last may be zero.</param>
/// <param name="Time">What the network is told at a noise level.</param>
/// <param name="ScalesInput">Whether the network takes x/sqrt(sigma^2 + 1), as one that was trained on alpha*x0 + sigma*eps does.</param>
public sealed record NoiseLevels(double[] Sigmas, Func<double, double> Time, bool ScalesInput, Prediction Prediction)
{
    /// <summary>Steps of the schedule.</summary>
    public int Steps => Sigmas.Length - 1;

    /// <summary>Steps left out before <see cref="Sigmas"/>, for numbering.</summary>
    public int FirstStep { get; init; }

    public double Maximum => Sigmas[0];

    /// <summary>The least level that is not zero.</summary>
    public double Minimum => Sigmas[^1] > 0 ? Sigmas[^1] : Sigmas[^2];

    /// <summary>An evaluation at a noise level, without an update yet.</summary>
    public Evaluation At(double sigma, int step) => new()
    {
        Time = Time(sigma), Step = FirstStep + step, InputScale = ScalesInput ? SigmaGrid.InputScale(sigma) : 1, Alpha = 1, Sigma = sigma,
    };

    /// <summary>An update of latents and slots that does not ask the network.</summary>
    public Evaluation Without(int step) => new() { Time = 0, Step = FirstStep + step, Alpha = 1, Sigma = Maximum, Evaluates = false };

    /// <exception cref="UsageException">Levels that rise, repeat or are not finite.</exception>
    public void Check()
    {
        if (Sigmas.Length < 2) throw new UsageException($"sigmas: expected at least 2, a noise level and the final one, found {Sigmas.Length}");
        for (int i = 0; i < Sigmas.Length; i++)
        {
            if (!double.IsFinite(Sigmas[i]) || Sigmas[i] < 0) throw new UsageException(FormattableString.Invariant($"sigmas[{i}]: expected a finite number of 0 or more, found {Sigmas[i]}"));
            if (i > 0 && Sigmas[i] >= Sigmas[i - 1]) throw new UsageException(FormattableString.Invariant($"sigmas[{i}]: {Sigmas[i]} does not fall below {Sigmas[i - 1]}"));
        }
    }
}
