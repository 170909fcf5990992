namespace DiffusionCore.Pipelines;

/// <summary>Where the tiles of one axis lie, and how much each of them counts at each pixel of the image.</summary>
public sealed class TileAxis
{
    /// <param name="length">Pixels of the features.</param>
    /// <param name="tile">Pixels of a tile; the axis has one tile where it is no longer.</param>
    /// <param name="factor">Pixels of the image per pixel of the features.</param>
    public TileAxis(int length, int tile, int overlap, int factor)
    {
        Tile = Math.Min(tile, length);
        int count = length <= tile ? 1 : (length - overlap + tile - overlap - 1) / (tile - overlap);
        Starts = new int[count];
        for (int i = 1; i < count; i++) Starts[i] = (int)((long)i * (length - Tile) / (count - 1));

        // A tile is faded in over the middle half of what it shares with its neighbour: its outermost pixels lack their surroundings.
        double Fade(int i, double at)
        {
            if (i == 0) return 1;
            if (i == count) return 0;
            double from = Starts[i], to = Starts[i - 1] + Tile, quarter = (to - from) / 4;
            double t = Math.Clamp((at - from - quarter) / (to - from - 2 * quarter), 0, 1);
            return t * t * (3 - 2 * t);
        }

        var exact = new double[count][];
        var total = new double[length * factor];
        for (int i = 0; i < count; i++)
        {
            exact[i] = new double[Tile * factor];
            for (int p = 0; p < exact[i].Length; p++)
            {
                double at = Starts[i] + (p + 0.5) / factor;
                exact[i][p] = Fade(i, at) * (1 - Fade(i + 1, at));
                total[Starts[i] * factor + p] += exact[i][p];
            }
        }

        Bounds = new int[count + 1];
        Bounds[count] = length;
        for (int i = 1; i < count; i++) Bounds[i] = (Starts[i] + Starts[i - 1] + Tile) / 2;
        Weights = new float[count][];
        for (int i = 0; i < count; i++)
        {
            Weights[i] = new float[Tile * factor];
            for (int p = 0; p < Weights[i].Length; p++) Weights[i][p] = (float)(exact[i][p] / total[Starts[i] * factor + p]);
        }
    }

    /// <summary>Pixels of the features in a tile.</summary>
    public int Tile { get; }

    /// <summary>First pixel of the features in each tile.</summary>
    public int[] Starts { get; }

    /// <summary>Per tile, a number for each of its pixels in the image; over all tiles they sum to one at each pixel of the axis.</summary>
    public float[][] Weights { get; }

    /// <summary>The axis cut between the tiles, without overlap: tile i stands for pixels [i, i + 1) of these.</summary>
    public int[] Bounds { get; }
}
