using DiffusionCore.Runtime;

namespace DiffusionCore.Shortcuts;

/// <summary>The first steps at a lower resolution of the latent, at the noise levels that are as hard there (see <see cref="Samplers.ResolutionChange"/>).</summary>
/// <param name="Steps">How many; 0 for none.</param>
/// <param name="Factor">How many times smaller height and width are.</param>
public sealed record CoarseStepsOptions(int Steps, int Factor = 2)
{
    private const int MaximumFactor = 8;

    /// <summary>steps=8,factor=2; only the steps must be given.</summary>
    /// <exception cref="UsageException">What is not that.</exception>
    public static CoarseStepsOptions Parse(string text)
    {
        var pairs = new OptionPairs("coarse", text, "steps", "factor");
        return new CoarseStepsOptions(pairs.Whole("steps", null, 0, 10_000), pairs.Whole("factor", 2, 2, MaximumFactor));
    }
}
