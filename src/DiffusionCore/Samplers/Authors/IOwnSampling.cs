namespace DiffusionCore.Samplers.Authors;

/// <summary>How the authors of a network sample it, in their own program's mathematics and by their own names.</summary>
public interface IOwnSampling
{
    /// <summary>The first is taken where none is named.</summary>
    IReadOnlyList<string> Names { get; }

    /// <summary>Guidance where none is asked for.</summary>
    double Guidance => 1;

    /// <summary>Whether images are in [0, 1] and not in [-1, 1].</summary>
    bool UnitRange => false;

    /// <summary>Steps that the authors take with a sampler; null names the natural one.</summary>
    int StepsOf(string? sampler);

    /// <summary>The run as numbers; null where the sampler is none of these.</summary>
    /// <exception cref="Runtime.UsageException">Options that do not fit.</exception>
    SamplerPlan? Plan(SamplerOptions options, string? sampler, string? schedule);
}
