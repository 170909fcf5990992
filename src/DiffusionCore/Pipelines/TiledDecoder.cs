using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>
/// Decodes latents of any size in little memory: the low resolutions at once, so that attention sees the whole image, the high resolutions in
/// overlapping tiles that are blended. Group norms look at the whole image too: the tiles share their statistics, first estimated on the image
/// reduced to one tile, then measured over all tiles. With statistics of its own each tile would have colours of its own.
/// </summary>
public sealed class TiledDecoder : IDisposable
{
    private readonly Device device;
    private readonly TiledPlan plan;
    private readonly Executable head, tile;
    private readonly DeviceBuffer latent, piece;
    private readonly float[] features, cut, decoded;
    private readonly SharedStatistics? statistics;

    /// <summary>Allocates what the plan says.</summary>
    /// <param name="weights">Shared with other plans of the same first stage.</param>
    /// <param name="weightBytes">That the weights may take.</param>
    public TiledDecoder(Device device, TiledPlan plan, WeightStore weights, long weightBytes = long.MaxValue)
    {
        this.device = device;
        this.plan = plan;
        // Tiles run many times, what comes before them once.
        WeightNeeds first = device.Weights(plan.Head), rest = device.Weights(plan.Tile);
        long tileBytes = Math.Min(rest.All, weightBytes - first.Least);
        tile = device.Prepare(plan.Tile, weights, tileBytes);
        head = device.Prepare(plan.Head, weights, weightBytes - tileBytes);
        latent = device.Allocate(plan.LatentCount * sizeof(float));
        piece = device.Allocate(plan.CutCount * sizeof(float));
        features = new float[plan.FeatureCount];
        cut = new float[plan.CutCount];
        decoded = new float[plan.TileImageCount];
        head.Bind("latent", latent);
        tile.Bind("features", piece);
        if (plan.NormGroups.Length > 0) statistics = new SharedStatistics(device, tile, plan.NormGroups);
    }

    public TiledPlan Plan => plan;

    /// <summary>Bytes held beside weights that stay in the store.</summary>
    internal long HeldBytes => plan.Bytes + head.StreamBufferBytes + tile.StreamBufferBytes;

    /// <summary>Bytes of weights that are read whenever it runs.</summary>
    internal long StreamedBytes => head.StreamedBytes + tile.StreamedBytes;

    /// <summary>Passes over all tiles that the statistics of the last image took.</summary>
    public int Passes { get; private set; }

    /// <summary>Decodes any number of images, one after the other.</summary>
    /// <param name="latents">[N, h, w, C] in the denoiser's scale.</param>
    /// <param name="images">[N, H, W, channels], rewritten.</param>
    public void Decode(ReadOnlySpan<float> latents, Span<float> images, CancellationToken cancellation = default)
    {
        int each = checked((int)plan.LatentCount), size = checked((int)plan.ImageCount), count = latents.Length / each;
        if (latents.Length != (long)count * each || images.Length != (long)count * size)
            throw new ArgumentException($"{latents.Length} numbers of latents and {images.Length} of images; an image takes {each} and {size}", nameof(images));
        for (int n = 0; n < count; n++)
        {
            device.Upload(MemoryMarshal.AsBytes(latents.Slice(n * each, each)), latent);
            Run(head);
            device.Download(head.Output("features"), MemoryMarshal.AsBytes(features.AsSpan()));
            if (statistics is not null) Measure(statistics, cancellation);
            var image = images.Slice(n * size, size);
            image.Clear();
            for (int r = 0; r < plan.Rows.Starts.Length; r++)
            {
                for (int c = 0; c < plan.Columns.Starts.Length; c++)
                {
                    cancellation.ThrowIfCancellationRequested();
                    Cut(r, c);
                    Run(tile);
                    device.Download(tile.Output("image"), MemoryMarshal.AsBytes(decoded.AsSpan()));
                    Blend(r, c, image);
                }
            }
        }
    }

    public void Dispose()
    {
        head.Dispose();
        tile.Dispose();
        latent.Dispose();
        piece.Dispose();
        statistics?.Dispose();
    }

    private static void Run(Executable executable)
    {
        executable.Run(Rate.Request);
        executable.Run(Rate.Step);
    }

    private void Measure(SharedStatistics shared, CancellationToken cancellation)
    {
        TileAxis rows = plan.Rows, columns = plan.Columns;
        Reduce();
        shared.UseOwn();
        shared.Area(0, rows.Tile, 0, columns.Tile);
        Run(tile);
        shared.Add(1);
        shared.Give();
        int most = Math.Min(plan.Options.Passes, plan.NormGroups.Length);
        Passes = 0;
        while (Passes < most)
        {
            for (int r = 0; r < rows.Starts.Length; r++)
            {
                for (int c = 0; c < columns.Starts.Length; c++)
                {
                    cancellation.ThrowIfCancellationRequested();
                    int top = rows.Bounds[r], bottom = rows.Bounds[r + 1], left = columns.Bounds[c], right = columns.Bounds[c + 1];
                    Cut(r, c);
                    shared.Area(top - rows.Starts[r], bottom - rows.Starts[r], left - columns.Starts[c], right - columns.Starts[c]);
                    Run(tile);
                    shared.Add((double)(bottom - top) * (right - left));
                }
            }

            Passes++;
            if (shared.Give() <= plan.Options.Tolerance) break;
        }
    }

    // The whole map in one tile, by the nearest pixel: it keeps the spread that averaging would take away.
    private void Reduce()
    {
        int channels = plan.FeatureChannels;
        for (int i = 0; i < plan.Rows.Tile; i++)
        {
            long row = (2L * i + 1) * plan.FeatureHeight / (2 * plan.Rows.Tile);
            for (int j = 0; j < plan.Columns.Tile; j++)
            {
                long column = (2L * j + 1) * plan.FeatureWidth / (2 * plan.Columns.Tile);
                features.AsSpan(checked((int)((row * plan.FeatureWidth + column) * channels)), channels).CopyTo(cut.AsSpan((i * plan.Columns.Tile + j) * channels, channels));
            }
        }

        device.Upload(MemoryMarshal.AsBytes(cut.AsSpan()), piece);
    }

    private void Cut(int r, int c)
    {
        int run = plan.Columns.Tile * plan.FeatureChannels, pitch = plan.FeatureWidth * plan.FeatureChannels;
        for (int i = 0; i < plan.Rows.Tile; i++)
            features.AsSpan(checked((plan.Rows.Starts[r] + i) * pitch + plan.Columns.Starts[c] * plan.FeatureChannels), run).CopyTo(cut.AsSpan(i * run, run));
        device.Upload(MemoryMarshal.AsBytes(cut.AsSpan()), piece);
    }

    private void Blend(int r, int c, Span<float> image)
    {
        float[] down = plan.Rows.Weights[r], across = plan.Columns.Weights[c];
        int channels = plan.ImageChannels;
        int top = plan.Rows.Starts[r] * (down.Length / plan.Rows.Tile), left = plan.Columns.Starts[c] * (across.Length / plan.Columns.Tile);
        for (int i = 0; i < down.Length; i++)
        {
            if (down[i] == 0) continue;
            var src = decoded.AsSpan(i * across.Length * channels, across.Length * channels);
            var dst = image.Slice(((top + i) * plan.ImageWidth + left) * channels, src.Length);
            for (int j = 0; j < across.Length; j++)
            {
                float w = down[i] * across[j];
                for (int k = 0; k < channels; k++) dst[j * channels + k] = MathF.FusedMultiplyAdd(w, src[j * channels + k], dst[j * channels + k]);
            }
        }
    }
}
