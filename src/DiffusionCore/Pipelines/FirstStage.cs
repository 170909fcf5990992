using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>The first stage of a latent model, prepared for one size at a time: images to latents and back, one image per run.</summary>
internal sealed class FirstStage : IMemoryHolder, IDisposable
{
    private const string Image = "image", Latent = "latent";
    private const int WholeTile = 64, SmallTile = 32, TiledDoublings = 2;

    // The image as floats, as bytes, and what a PNG writer makes of it, per number of the image.
    private const int ImageCopies = 3;

    private readonly Device device;
    private readonly IFirstStage network;
    private readonly WeightStore encoderWeights, decoderWeights;
    private readonly Dictionary<(bool Encodes, int Height, int Width), Plan> plans = [];
    private readonly Dictionary<(int Height, int Width), TiledPlan> tiledPlans = [];
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

    public long HeldBytes => Bytes + (encoder?.Network.HeldBytes ?? 0) + (decoder?.Network.HeldBytes ?? 0) + (tiles?.HeldBytes ?? 0);

    /// <summary>Records the decoder of one latent of this size.</summary>
    public static Graph RecordDecoder(IFirstStage network, int height, int width)
    {
        var g = new Graph();
        g.Output(Image, network.DecodeFromLatent(g, g.Input(Latent, new Shape(1, height, width, network.LatentChannels))));
        return g;
    }

    /// <param name="height">Of the image.</param>
    public PhaseNeeds EncodingNeeds(int height, int width) => Needs($"encoding an image of {width}x{height} would", EncoderPlan(height, width), ImageBytes(height, width));

    /// <summary>What decoding at once needs.</summary>
    /// <param name="height">Of the latent.</param>
    public PhaseNeeds DecodingNeeds(int height, int width) => Needs($"{Decoding(height, width)} at once would", DecoderPlan(height, width), ImageBytes(height * network.Factor, width * network.Factor));

    /// <summary>What decoding in tiles needs.</summary>
    /// <param name="height">Of the latent.</param>
    public PhaseNeeds TilingNeeds(int height, int width)
    {
        var plan = Tiled(height, width);
        WeightNeeds head = device.Weights(plan.Head), tile = device.Weights(plan.Tile);
        return new PhaseNeeds($"{Decoding(height, width)} in tiles would", new WeightNeeds(head.All + tile.All, head.Least + tile.Least), plan.Bytes + ImageBytes(height * network.Factor, width * network.Factor));
    }

    /// <summary>Whether a latent of this size can be decoded in tiles.</summary>
    public bool CanTile(int height, int width) => network.Factor > 1 && Math.Max(height, width) > SmallTile;

    /// <summary>Checks before anything runs that a latent of this size can be decoded.</summary>
    /// <exception cref="MemoryException">Not even in tiles.</exception>
    public void CheckDecoding(int height, int width, bool tiled, MemoryBudget budget)
    {
        if (!tiled && budget.Fits(DecodingNeeds(height, width))) return;
        budget.Check(tiled || CanTile(height, width) ? TilingNeeds(height, width) : DecodingNeeds(height, width));
    }

    /// <param name="image">[Height, Width, ImageChannels] in [-1, 1].</param>
    /// <returns>[h, w, LatentChannels]: the posterior's mean, scaled as the denoiser has it.</returns>
    public float[] Encode(float[] image, int height, int width, MemoryBudget budget)
    {
        if (encoder is not { } e || e.Height != height || e.Width != width)
        {
            Release();
            var needs = EncodingNeeds(height, width);
            long room = budget.Claim(this, needs);
            encoder = e = (height, width, new PreparedNetwork(device, EncoderPlan(height, width), encoderWeights, room));
            budget.Say("the encoder", e.Network.StreamedBytes, needs.Weights.All);
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
        if (tiles is { } kept && kept.Plan.Height == height && kept.Plan.Width == width) tiled = true;
        if (!tiled && CanTile(height, width) && !budget.Fits(DecodingNeeds(height, width)))
        {
            note?.Invoke($"{Decoding(height, width)} at once needs {MemoryBudget.Megabytes(DecodingNeeds(height, width).Least)} of {MemoryBudget.Megabytes(budget.Bytes)}; decoding in tiles instead, in more time");
            tiled = true;
        }

        if (tiled) return DecodeTiles(latent, height, width, budget, cancellation);
        if (decoder is not { } d || d.Height != height || d.Width != width)
        {
            Release();
            var needs = DecodingNeeds(height, width);
            long room = budget.Claim(this, needs);
            decoder = d = (height, width, new PreparedNetwork(device, DecoderPlan(height, width), decoderWeights, room));
            budget.Say("the decoder", d.Network.StreamedBytes, needs.Weights.All);
        }

        d.Network.Set(Latent, latent);
        d.Network.Run();
        return d.Network.Output(Image, "decoded image");
    }

    /// <summary>Gives all memory back; what is needed is prepared again.</summary>
    public void Release()
    {
        encoder?.Network.Dispose();
        decoder?.Network.Dispose();
        tiles?.Dispose();
        (encoder, decoder, tiles) = (null, null, null);
        encoderWeights.Dispose();
        decoderWeights.Dispose();
    }

    public void Dispose() => Release();

    private string Decoding(int height, int width) => $"decoding an image of {width * network.Factor}x{height * network.Factor}";

    private long ImageBytes(int height, int width) => (long)height * width * network.ImageChannels * ImageCopies * sizeof(float);

    private PhaseNeeds Needs(string what, Plan plan, long beside) => new(what, device.Weights(plan), plan.ArenaBytes + beside);

    private Plan EncoderPlan(int height, int width)
    {
        if (plans.TryGetValue((true, height, width), out var plan)) return plan;
        var g = new Graph();
        g.Output(Latent, network.EncodeToLatent(g, g.Input(Image, new Shape(1, height, width, network.ImageChannels))));
        return plans[(true, height, width)] = device.Plan(g);
    }

    private Plan DecoderPlan(int height, int width)
    {
        if (!plans.TryGetValue((false, height, width), out var plan)) plans[(false, height, width)] = plan = device.Plan(RecordDecoder(network, height, width));
        return plan;
    }

    private TiledPlan Tiled(int height, int width)
    {
        if (tiledPlans.TryGetValue((height, width), out var plan)) return plan;
        int doublings = Math.Min(TiledDoublings, int.Log2(network.Factor));
        if (doublings < 1) throw new UsageException("tiles: this first stage does not change the resolution, so there is nothing to decode in tiles");
        return tiledPlans[(height, width)] = new TiledPlan(device, network, height, width, new TilingOptions(Math.Max(height, width) > WholeTile ? WholeTile : SmallTile, Doublings: doublings));
    }

    private float[] DecodeTiles(ReadOnlySpan<float> latent, int height, int width, MemoryBudget budget, CancellationToken cancellation)
    {
        if (tiles is null || tiles.Plan.Height != height || tiles.Plan.Width != width)
        {
            Release();
            var needs = TilingNeeds(height, width);
            long room = budget.Claim(this, needs);
            tiles = new TiledDecoder(device, Tiled(height, width), decoderWeights, room);
            budget.Say("the decoder", tiles.StreamedBytes, needs.Weights.All);
        }

        var image = new float[height * width * network.Factor * network.Factor * network.ImageChannels];
        tiles.Decode(latent, image, cancellation);
        for (int i = 0; i < image.Length; i++)
            if (!float.IsFinite(image[i])) throw new NonFiniteException("decoded image", i);
        return image;
    }
}
