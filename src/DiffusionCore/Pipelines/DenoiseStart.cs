using DiffusionCore.Noise;
using DiffusionCore.Shortcuts;

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

    /// <summary>
    /// Where the session's latent is part of a larger one that noise is drawn for: all channels, and the first of the session's. Null where it is all.
    /// </summary>
    public (int Channels, int First)? PartOf { get; init; }

    /// <summary>What the network is told beside latent and time: the bytes of its request inputs by name. An input that is not named here is zero.</summary>
    public IReadOnlyDictionary<string, byte[]> Conditioning { get; init; } = new Dictionary<string, byte[]>();

    public double Guidance { get; init; } = 1;

    /// <summary>Latents [image][row][column][channel] of images to start from, noised to the first step's level; null to start from noise alone.</summary>
    public float[]? Latents { get; init; }

    /// <summary>White noise to begin with, [image][row][column][channel]; null to draw it.</summary>
    public float[]? FirstNoise { get; init; }

    /// <summary>Latents of a lower resolution that the run goes on from; null where it does not.</summary>
    public CoarseStart? Coarse { get; init; }

    /// <summary>
    /// Which part is made anew, [image][row][column], 1 for yes: after every step the rest is put back to <see cref="Latents"/> at that step's
    /// noise. Null for all.
    /// </summary>
    public float[]? Mask { get; init; }
}
