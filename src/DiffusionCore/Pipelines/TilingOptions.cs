using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>How a latent is cut for decoding. Lengths are pixels of the latent.</summary>
/// <param name="Tile">Side of a tile.</param>
/// <param name="Overlap">What neighbours share at least, at most half a tile. A middle pixel of it should not see the tile's end: 8 suffice for one doubling, 12 for two.</param>
/// <param name="Doublings">How many of the last doublings of the resolution run in tiles. Each one more takes less memory for the rest and has more norms.</param>
/// <param name="Passes">
/// How often at most the norms' statistics, first estimated on the latent reduced to one tile, are measured over all tiles before these are decoded
/// for good. A pass costs as much as decoding. The k-th pass makes the k-th norm exact, so there are never more than norms.
/// </param>
/// <param name="Tolerance">Passes end when no mean and no deviation changes by more than this part of a deviation.</param>
public sealed record TilingOptions(int Tile = 64, int Overlap = 16, int Doublings = 2, int Passes = 32, double Tolerance = 0.002)
{
    /// <exception cref="UsageException">A number is out of range.</exception>
    public void Check()
    {
        if (Tile is < 4 or > 4096) throw new UsageException($"tile: expected 4 to 4096 pixels of the latent, found {Tile}");
        if (Overlap < 2 || Overlap > Tile / 2) throw new UsageException($"tile overlap: expected 2 to {Tile / 2} pixels of the latent, half a tile of {Tile}, found {Overlap}");
        if (Doublings is < 1 or > 16) throw new UsageException($"tile doublings: expected 1 to 16, found {Doublings}");
        if (Passes is < 0 or > 64) throw new UsageException($"tile passes: expected 0 to 64, found {Passes}");
        if (!(Tolerance >= 0)) throw new UsageException($"tile tolerance: expected 0 or more, found {Tolerance}");
    }
}
