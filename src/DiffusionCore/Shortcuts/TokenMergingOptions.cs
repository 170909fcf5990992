using DiffusionCore.Runtime;

namespace DiffusionCore.Shortcuts;

/// <summary>Token merging (Bolya and Hoffman 2023): self-attention on fewer tokens.</summary>
/// <param name="Ratio">Share of the tokens that go, up to 0.75; 0 keeps all.</param>
/// <param name="Levels">Levels of the network at which tokens are merged, 0 the finest.</param>
public sealed record TokenMergingOptions(double Ratio, EquatableList<int> Levels)
{
    /// <summary>Three of the four tokens of a cell may go.</summary>
    public const double MaximumRatio = 0.75;

    private const int MaximumLevel = 16;

    /// <summary>ratio=0.5,levels=0+1; without levels the finest alone.</summary>
    /// <exception cref="UsageException">What is not that.</exception>
    public static TokenMergingOptions Parse(string text)
    {
        var pairs = new OptionPairs("tome", text, "ratio", "levels");
        return new TokenMergingOptions(pairs.Real("ratio", null, 0, MaximumRatio), new EquatableList<int>(pairs.WholeList("levels", "0", 0, MaximumLevel)));
    }
}
