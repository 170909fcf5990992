using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Pipelines;

/// <summary>What decoding in tiles needs, known before anything is allocated.</summary>
public sealed class TiledPlan
{
    /// <summary>Plans the decoding of latents of one size.</summary>
    /// <param name="height">Of the latent.</param>
    /// <param name="width">Of the latent.</param>
    /// <exception cref="UsageException">The options do not fit.</exception>
    public TiledPlan(Device device, IFirstStage stage, int height, int width, TilingOptions options)
    {
        options.Check();
        (Options, Height, Width, LatentChannels, ImageChannels) = (options, height, width, stage.LatentChannels, stage.ImageChannels);
        var g = new Graph();
        var features = stage.DecodeHead(g, g.Input("latent", new Shape(1, height, width, stage.LatentChannels)), options.Doublings);
        g.Output("features", features);
        FeatureHeight = (int)features.Shape[1];
        FeatureWidth = (int)features.Shape[2];
        FeatureChannels = (int)features.Shape[3];
        int scale = FeatureHeight / height, factor = stage.Factor / scale;
        Rows = new TileAxis(FeatureHeight, options.Tile * scale, options.Overlap * scale, factor);
        Columns = new TileAxis(FeatureWidth, options.Tile * scale, options.Overlap * scale, factor);
        ImageHeight = height * stage.Factor;
        ImageWidth = width * stage.Factor;

        var t = new Graph();
        t.Output("image", stage.DecodeTail(t, t.Input("features", new Shape(1, Rows.Tile, Columns.Tile, FeatureChannels)), options.Doublings));
        if (Tiles > 1)
        {
            t = SharedStatisticsPass.Run(t, out int[] groups);
            NormGroups = groups;
        }

        Head = device.Plan(g);
        Tile = device.Plan(t);
    }

    public TilingOptions Options { get; }

    /// <summary>The part that sees the whole map, for one image.</summary>
    public Plan Head { get; }

    /// <summary>The rest, for one tile.</summary>
    public Plan Tile { get; }

    public int Height { get; }

    public int Width { get; }

    public int LatentChannels { get; }

    public int ImageHeight { get; }

    public int ImageWidth { get; }

    public int ImageChannels { get; }

    public int Tiles => Rows.Starts.Length * Columns.Starts.Length;

    /// <summary>Arenas and staging, in bytes; the weights and the images themselves come on top.</summary>
    public long Bytes => Head.ArenaBytes + Tile.ArenaBytes + sizeof(float) * (LatentCount + FeatureCount + 2 * CutCount + TileImageCount);

    internal TileAxis Rows { get; }

    internal TileAxis Columns { get; }

    internal int FeatureHeight { get; }

    internal int FeatureWidth { get; }

    internal int FeatureChannels { get; }

    /// <summary>Groups of each norm whose statistics the tiles share.</summary>
    internal int[] NormGroups { get; } = [];

    internal long LatentCount => (long)Height * Width * LatentChannels;

    internal long FeatureCount => (long)FeatureHeight * FeatureWidth * FeatureChannels;

    internal long CutCount => (long)Rows.Tile * Columns.Tile * FeatureChannels;

    internal long TileImageCount => (long)Rows.Weights[0].Length * Columns.Weights[0].Length * ImageChannels;

    internal long ImageCount => (long)ImageHeight * ImageWidth * ImageChannels;
}
