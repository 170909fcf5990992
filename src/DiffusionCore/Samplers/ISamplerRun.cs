namespace DiffusionCore.Samplers;

/// <summary>The evaluations of one run, pulled one by one; an adaptive sampler decides each by what the last one measured.</summary>
public interface ISamplerRun
{
    /// <summary>The next evaluation, or null at the end.</summary>
    /// <param name="measured">What <see cref="Evaluation.Measure"/> of the last evaluation gave; NaN at the start and where it has none.</param>
    Evaluation? Next(double measured);
}

/// <summary>A fixed list.</summary>
internal sealed class FixedRun(IReadOnlyList<Evaluation> evaluations) : ISamplerRun
{
    private int next;

    public Evaluation? Next(double measured) => next < evaluations.Count ? evaluations[next++] : null;
}

/// <summary>A run written as an iterator: it yields evaluations and reads <see cref="Measured"/> after each.</summary>
internal abstract class AdaptiveRun : ISamplerRun
{
    private IEnumerator<Evaluation>? evaluations;

    /// <summary>What the last evaluation measured.</summary>
    protected double Measured { get; private set; }

    public Evaluation? Next(double measured)
    {
        Measured = measured;
        evaluations ??= Evaluations().GetEnumerator();
        return evaluations.MoveNext() ? evaluations.Current : null;
    }

    protected abstract IEnumerable<Evaluation> Evaluations();
}
