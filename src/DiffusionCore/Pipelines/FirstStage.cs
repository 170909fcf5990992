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
    private (int Height, int Width, PreparedNetwork Network)? encoder, decoder;

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
    /// <returns>[h*Factor, w*Factor, ImageChannels], nominally in [-1, 1].</returns>
    /// <exception cref="NonFiniteException">The image is not finite.</exception>
    public float[] Decode(ReadOnlySpan<float> latent, int height, int width, MemoryBudget budget)
    {
        if (decoder is not { } d || d.Height != height || d.Width != width)
        {
            decoder?.Network.Dispose();
            decoder = null;
            var plan = device.Plan(RecordDecoder(network, height, width));
            budget.Check(plan, decoderWeights, 0, $"decoding an image of {width * network.Factor}x{height * network.Factor}");
            decoder = d = (height, width, new PreparedNetwork(device, plan, decoderWeights));
        }

        d.Network.Set(Latent, latent);
        d.Network.Run();
        return d.Network.Output(Image, "decoded image");
    }

    public void Dispose()
    {
        encoder?.Network.Dispose();
        decoder?.Network.Dispose();
        encoderWeights.Dispose();
        decoderWeights.Dispose();
    }
}
