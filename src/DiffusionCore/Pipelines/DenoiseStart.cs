using DiffusionCore.Noise;

namespace DiffusionCore.Pipelines;

/// <summary>What a batch begins with.</summary>
public sealed record DenoiseStart
{
    /// <summary>One per image.</summary>
    public required ulong[] Seeds { get; init; }

    /// <summary>Index of the batch's first image in its request.</summary>
    public int FirstImage { get; init; }

    /// <summary>Images in the request; counts where one generator draws for all of them.</summary>
    public int Total { get; init; }

    public NoiseSettings Noise { get; init; } = new();

    public Variation? Variation { get; init; }

    /// <summary>One per image; ignored where the network has no classes.</summary>
    public required int[] Classes { get; init; }

    /// <summary>The class of the branch that guidance leads away from.</summary>
    public int NullClass { get; init; }

    public double Guidance { get; init; } = 1;
}
