using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>The first stage of a latent model, prepared for one size at a time: images to latents and back, one image per run.</summary>
internal sealed class FirstStage : IDisposable
{
    private const string Image = "image", Latent = "latent";

    private readonly Device device;
    private readonly IFirstStage network;
    private readonly WeightStore encoderWeights, decoderWeights;
    private const int WholeTile = 64, SmallTile = 32, TiledDoublings = 2;

    private (int Height, int Width, PreparedNetwork Network)? encoder, decoder;
    private TiledDecoder? tiles;

    public FirstStage(Device device, IFirstStage network)
    {
        (this.device, this.network) = (device, network);
        encoderWeights = device.CreateWeightStore();
        decoderWeights = device.CreateWeightStore();
    }

    public IFirstStage Network => network;

    /// <summary>Bytes of weights held now.</summary>
    public long Bytes => encoderWeights.Bytes + decoderWeights.Bytes;

    /// <summary>Records the decoder of one latent of this size.</summary>
    public static Graph RecordDecoder(IFirstStage network, int height, int width)
    {
        var g = new Graph();
        g.Output(Image, network.DecodeFromLatent(g, g.Input(Latent, new Shape(1, height, width, network.LatentChannels))));
        return g;
    }

    /// <param name="image">[Height, Width, ImageChannels] in [-1, 1].</param>
    /// <returns>[h, w, LatentChannels]: the posterior's mean, scaled as the denoiser has it.</returns>
    public float[] Encode(float[] image, int height, int width, MemoryBudget budget)
    {
        if (encoder is not { } e || e.Height != height || e.Width != width)
        {
            encoder?.Network.Dispose();
            encoder = null;
            var g = new Graph();
            g.Output(Latent, network.EncodeToLatent(g, g.Input(Image, new Shape(1, height, width, network.ImageChannels))));
            var plan = device.Plan(g);
            budget.Check(plan, encoderWeights, 0, $"encoding an image of {width}x{height}");
            encoder = e = (height, width, new PreparedNetwork(device, plan, encoderWeights));
        }

        e.Network.Set<float>(Image, image);
        e.Network.Run();
        return e.Network.Output(Latent, "encoded image");
    }

    /// <param name="latent">[h, w, LatentChannels].</param>
    /// <param name="tiled">Whether to decode in tiles, which takes less memory and more time. Where the whole does not fit it is done anyway and said.</param>
    /// <returns>[h*Factor, w*Factor, ImageChannels], nominally in [-1, 1].</returns>
    /// <exception cref="NonFiniteException">The image is not finite.</exception>
    /// <exception cref="MemoryException">Not even tiles fit.</exception>
    public float[] Decode(ReadOnlySpan<float> latent, int height, int width, MemoryBudget budget, bool tiled = false, Action<string>? note = null, CancellationToken cancellation = default)
    {
        string what = $"decoding an image of {width * network.Factor}x{height * network.Factor}";
        if (!tiled && (tiles is null || tiles.Plan.Height != height || tiles.Plan.Width != width))
        {
            if (decoder is not { } d || d.Height != height || d.Width != width)
            {
                decoder?.Network.Dispose();
                decoder = null;
                var plan = device.Plan(RecordDecoder(network, height, width));
                if (budget.Fits(plan, decoderWeights, 0) || !CanTile(height, width))
                {
                    budget.Check(plan, decoderWeights, 0, what);
                    decoder = (height, width, new PreparedNetwork(device, plan, decoderWeights));
                }
                else
                {
                    note?.Invoke($"{what} at once needs {plan.ArenaBytes / 1e6:F0} MB; decoding in tiles instead, in more time");
                }
            }

            if (decoder is { } whole)
            {
                whole.Network.Set(Latent, latent);
                whole.Network.Run();
                return whole.Network.Output(Image, "decoded image");
            }
        }

        return DecodeTiles(latent, height, width, budget, what, cancellation);
    }

    private bool CanTile(int height, int width) => network.Factor > 1 && Math.Max(height, width) > SmallTile;

    private float[] DecodeTiles(ReadOnlySpan<float> latent, int height, int width, MemoryBudget budget, string what, CancellationToken cancellation)
    {
        if (tiles is null || tiles.Plan.Height != height || tiles.Plan.Width != width)
        {
            tiles?.Dispose();
            tiles = null;
            int doublings = Math.Min(TiledDoublings, int.Log2(network.Factor));
            if (doublings < 1) throw new UsageException("tiles: this first stage does not change the resolution, so there is nothing to decode in tiles");
            var plan = new TiledPlan(device, network, height, width, new TilingOptions(Math.Max(height, width) > WholeTile ? WholeTile : SmallTile, Doublings: doublings));
            budget.Check(plan.Bytes, Math.Max(decoderWeights.Bytes, MemoryBudget.WeightBytes(plan.Head.Graph) + MemoryBudget.WeightBytes(plan.Tile.Graph)), what + " in tiles");
            tiles = new TiledDecoder(device, plan, decoderWeights);
        }

        var image = new float[height * width * network.Factor * network.Factor * network.ImageChannels];
        tiles.Decode(latent, image, cancellation);
        for (int i = 0; i < image.Length; i++)
            if (!float.IsFinite(image[i])) throw new NonFiniteException("decoded image", i);
        return image;
    }

    public void Dispose()
    {
        encoder?.Network.Dispose();
        decoder?.Network.Dispose();
        tiles?.Dispose();
        encoderWeights.Dispose();
        decoderWeights.Dispose();
    }
}
