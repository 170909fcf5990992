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
    private readonly WeightStore weights;
    private readonly Dictionary<(bool Encodes, int Height, int Width), Plan> plans = [];
    private readonly Dictionary<(int Height, int Width), TiledPlan> tiledPlans = [];
    private ((bool Encodes, int Height, int Width) What, PreparedNetwork Network)? prepared;     // this or tiles, or nothing
    private TiledDecoder? tiles;

    public FirstStage(Device device, IFirstStage network)
    {
        (this.device, this.network) = (device, network);
        weights = device.CreateWeightStore();
    }

    public IFirstStage Network => network;

    /// <summary>Bytes of weights held now.</summary>
    public long Bytes => weights.Bytes;

    public long HeldBytes => Bytes + (prepared?.Network.HeldBytes ?? 0) + (tiles?.HeldBytes ?? 0);

    /// <summary>Records the decoder of one latent of this size.</summary>
    public static Graph RecordDecoder(IFirstStage network, int height, int width)
    {
        var g = new Graph();
        g.Output(Image, network.DecodeFromLatent(g, g.Input(Latent, new Shape(1, height, width, network.LatentChannels))));
        return g;
    }

    /// <param name="height">Of the image.</param>
    public PhaseNeeds EncodingNeeds(int height, int width) => Needs($"encoding an image of {width}x{height} would", PlanOf(true, height, width), ImageBytes(height, width));

    /// <summary>What decoding at once needs.</summary>
    /// <param name="height">Of the latent.</param>
    public PhaseNeeds DecodingNeeds(int height, int width) => Needs($"{Decoding(height, width)} at once would", PlanOf(false, height, width), ImageBytes(height * network.Factor, width * network.Factor));

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
        var encoder = Prepared(true, height, width, budget);
        encoder.Set<float>(Image, image);
        encoder.Run();
        return encoder.Output(Latent, "encoded image");
    }

    /// <param name="latent">[h, w, LatentChannels].</param>
    /// <param name="tiled">Whether to decode in tiles, which takes less memory and more time. Where the whole does not fit it is done anyway and said.</param>
    /// <returns>[h*Factor, w*Factor, ImageChannels], nominally in [-1, 1].</returns>
    /// <exception cref="NonFiniteException">The image is not finite.</exception>
    /// <exception cref="MemoryException">Not even tiles fit.</exception>
    public float[] Decode(ReadOnlySpan<float> latent, int height, int width, MemoryBudget budget, bool tiled = false, Action<string>? note = null, CancellationToken cancellation = default)
    {
        if (!tiled && CanTile(height, width) && !budget.Fits(DecodingNeeds(height, width)))
        {
            if (!HasTiles(height, width)) note?.Invoke($"{Decoding(height, width)} at once needs {MemoryBudget.Megabytes(DecodingNeeds(height, width).Least)} of {MemoryBudget.Megabytes(budget.Bytes)}; decoding in tiles instead, in more time");
            tiled = true;
        }

        if (tiled) return DecodeTiles(latent, height, width, budget, cancellation);
        var decoder = Prepared(false, height, width, budget);
        decoder.Set(Latent, latent);
        decoder.Run();
        return decoder.Output(Image, "decoded image");
    }

    /// <summary>Gives all memory back; what is needed is prepared again.</summary>
    public void Release()
    {
        prepared?.Network.Dispose();
        tiles?.Dispose();
        (prepared, tiles) = (null, null);
        weights.Dispose();
    }

    public void Dispose() => Release();

    private string Decoding(int height, int width) => $"decoding an image of {width * network.Factor}x{height * network.Factor}";

    private long ImageBytes(int height, int width) => (long)height * width * network.ImageChannels * ImageCopies * sizeof(float);

    private PhaseNeeds Needs(string what, Plan plan, long beside) => new(what, device.Weights(plan), plan.ArenaBytes + beside);

    private Plan PlanOf(bool encodes, int height, int width)
    {
        if (plans.TryGetValue((encodes, height, width), out var plan)) return plan;
        return plans[(encodes, height, width)] = device.Plan(encodes ? RecordEncoder(height, width) : RecordDecoder(network, height, width));
    }

    private Graph RecordEncoder(int height, int width)
    {
        var g = new Graph();
        g.Output(Latent, network.EncodeToLatent(g, g.Input(Image, new Shape(1, height, width, network.ImageChannels))));
        return g;
    }

    private PreparedNetwork Prepared(bool encodes, int height, int width, MemoryBudget budget)
    {
        if (prepared is { } p && p.What == (encodes, height, width)) return p.Network;
        Release();
        var needs = encodes ? EncodingNeeds(height, width) : DecodingNeeds(height, width);
        long room = budget.Claim(this, needs);
        var made = new PreparedNetwork(device, PlanOf(encodes, height, width), weights, room);
        prepared = ((encodes, height, width), made);
        budget.Say(encodes ? "the encoder" : "the decoder", made.StreamedBytes, needs.Weights.All);
        return made;
    }

    private bool HasTiles(int height, int width) => tiles is { } t && t.Plan.Height == height && t.Plan.Width == width;

    private TiledPlan Tiled(int height, int width)
    {
        if (tiledPlans.TryGetValue((height, width), out var plan)) return plan;
        int doublings = Math.Min(TiledDoublings, int.Log2(network.Factor));
        if (doublings < 1) throw new UsageException("tiles: this first stage does not change the resolution, so there is nothing to decode in tiles");
        return tiledPlans[(height, width)] = new TiledPlan(device, network, height, width, new TilingOptions(Math.Max(height, width) > WholeTile ? WholeTile : SmallTile, Doublings: doublings));
    }

    private float[] DecodeTiles(ReadOnlySpan<float> latent, int height, int width, MemoryBudget budget, CancellationToken cancellation)
    {
        if (!HasTiles(height, width))
        {
            Release();
            var needs = TilingNeeds(height, width);
            long room = budget.Claim(this, needs);
            tiles = new TiledDecoder(device, Tiled(height, width), weights, room);
            budget.Say("the decoder", tiles.StreamedBytes, needs.Weights.All);
        }

        var image = new float[height * width * network.Factor * network.Factor * network.ImageChannels];
        tiles!.Decode(latent, image, cancellation);
        for (int i = 0; i < image.Length; i++)
            if (!float.IsFinite(image[i])) throw new NonFiniteException("decoded image", i);
        return image;
    }
}
