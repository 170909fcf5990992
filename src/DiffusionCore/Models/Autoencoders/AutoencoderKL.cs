using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>How a variational first stage is configured.</summary>
/// <param name="EmbedChannels">Channels of the latent.</param>
public sealed record AutoencoderKLConfig(AutoencoderConfig Base, int EmbedChannels, bool QuantConv, bool PostQuantConv)
{
    /// <summary>diffusers' default, of Stable Diffusion 1 and 2.</summary>
    private const double DefaultScalingFactor = 0.18215;

    public static AutoencoderKLConfig Read(ConfigFile f)
    {
        var shared = AutoencoderConfig.Read(f, posterior: true, DefaultScalingFactor);
        foreach (string name in new[] { "latents_mean", "latents_std" })
            if (f.Has(name)) throw new ModelFileException(f.Path, name, "is not supported; this first stage scales its latents by scaling_factor and shift_factor alone");
        return new(shared, shared.LatentChannels, f.GetBool("use_quant_conv", true), f.GetBool("use_post_quant_conv", true));
    }

    /// <summary>Reads the authors' configuration (latent-diffusion): ddconfig beside embed_dim.</summary>
    public static AutoencoderKLConfig ReadAuthors(ConfigFile f)
    {
        var inner = f.GetOptionalObject("ddconfig") ?? throw new ModelFileException(f.Path, "ddconfig", "expected an object, found nothing");
        var shared = AutoencoderConfig.ReadAuthors(inner);
        if (shared.EncoderOutputs != 2 * shared.LatentChannels) throw new ModelFileException(f.Path, "ddconfig.double_z", "expected true: the encoder gives mean and log variance");
        return new(shared, f.GetInt("embed_dim", null, 1, 1 << 16), true, true);
    }
}

/// <summary>
/// Variational autoencoder, the first stage of Stable Diffusion, Flux and SD3 (Rombach et al. 2022).
/// <code>
/// image --encoder--[quant_conv]--> mean | log variance        z = mean + exp(log variance / 2) * noise
/// z --[post_quant_conv]--decoder--> image
/// </code>
/// image: [N, H, W, 3] in [-1, 1]; z: [N, H/Factor, W/Factor, C]. Takes diffusers' keys and the authors'.
/// </summary>
public sealed class AutoencoderKL : IFirstStage
{
    // Log variances are clamped here before use, as in training.
    private const float LowestLogVariance = -30, HighestLogVariance = 20;

    private readonly AutoencoderEncoder encoder;
    private readonly Conv? quantConv;
    private readonly Conv? postQuantConv;
    private readonly AutoencoderDecoder decoder;
    private readonly bool authors;

    /// <param name="authors">Names the outputs of an evaluation as the authors' code does, and adds theirs.</param>
    public AutoencoderKL(WeightScope w, AutoencoderKLConfig config, bool authors = false)
    {
        Config = config;
        this.authors = authors;
        var shared = config.Base;
        encoder = new(w.At("encoder"), shared.Layout, shared.InChannels, shared.EncoderOutputs);
        if (config.QuantConv) quantConv = new(w.At("quant_conv"), shared.EncoderOutputs, 2 * config.EmbedChannels, 1);
        if (config.PostQuantConv) postQuantConv = new(w.At("post_quant_conv"), config.EmbedChannels, shared.LatentChannels, 1);
        decoder = new(w.At("decoder"), shared.Layout, shared.LatentChannels, shared.OutChannels);
    }

    public AutoencoderKLConfig Config { get; }

    public int ImageChannels => Config.Base.OutChannels;

    public int LatentChannels => Config.EmbedChannels;

    public int Factor => Config.Base.Layout.Factor;

    /// <summary>[N, H, W, C] to [N, h, w, 2*LatentChannels]: mean, then log variance.</summary>
    public Value Moments(Graph g, Value image)
    {
        var x = encoder.Record(g, image);
        if (quantConv is null) return x;
        using (g.Layer("quant_conv")) return quantConv.Record(g, x);
    }

    /// <summary>Mean and standard deviation of the posterior.</summary>
    public (Value Mean, Value Deviation) Posterior(Graph g, Value moments)
    {
        var mean = g.Slice(moments, 3, 0, LatentChannels);
        return (mean, g.Unary(Unary.Exp, g.Affine(LogVariance(g, moments), 0.5)));
    }

    /// <summary>[N, h, w, LatentChannels], not scaled, to [N, H, W, C].</summary>
    public Value Decode(Graph g, Value z) => decoder.RecordTail(g, Head(g, z, 0), 0);

    public Value EncodeToLatent(Graph g, Value image, Value? noise = null)
    {
        var (mean, deviation) = Posterior(g, Moments(g, image));
        var z = noise is { } n ? g.Plus(mean, g.Times(deviation, n)) : mean;
        double scale = Config.Base.ScalingFactor;
        return g.Affine(z, scale, -Config.Base.ShiftFactor * scale);
    }

    public Value DecodeHead(Graph g, Value latent, int doublings) => Head(g, g.Affine(latent, 1 / Config.Base.ScalingFactor, Config.Base.ShiftFactor), doublings);

    public Value DecodeTail(Graph g, Value features, int doublings) => decoder.RecordTail(g, features, doublings);

    public void Record(NetworkIO io)
    {
        var g = io.Graph;
        if (io.Has("image"))
        {
            var moments = Moments(g, io.Image("image", Config.Base.InChannels, Factor));
            var (mean, deviation) = Posterior(g, moments);
            io.OutputMap("moments", moments);
            io.OutputMap("mode", mean);
            io.OutputMap("std", deviation);
            if (io.Has("noise"))
            {
                var noise = io.Map("noise", LatentChannels);
                if (noise.Shape != mean.Shape) throw io.Problem("noise", $"expected as many pixels as the latent has, {mean.Shape[1]}x{mean.Shape[2]} in {mean.Shape[0]} images, found {noise.Shape[1]}x{noise.Shape[2]} in {noise.Shape[0]}");
                io.OutputMap(authors ? "sample" : "sample_with_noise", g.Plus(mean, g.Times(deviation, noise)));
            }

            if (authors)
            {
                io.Output("kl", Divergence(g, mean, LogVariance(g, moments)));
                io.OutputMap("reconstruction", Decode(g, mean));
            }
        }

        if (io.Has("latent")) io.OutputMap("decoded", Decode(g, io.Map("latent", LatentChannels)));
    }

    private Value Head(Graph g, Value z, int doublings)
    {
        if (postQuantConv is not null)
        {
            using (g.Layer("post_quant_conv")) z = postQuantConv.Record(g, z);
        }

        return decoder.RecordHead(g, z, doublings);
    }

    private Value LogVariance(Graph g, Value moments)
    {
        var v = g.Slice(moments, 3, LatentChannels, LatentChannels);
        v = g.Binary(Binary.Max, v, g.Constant([LowestLogVariance], new Shape(1)));
        return g.Binary(Binary.Min, v, g.Constant([HighestLogVariance], new Shape(1)));
    }

    // Divergence of the posterior from the standard normal: (mean^2 + variance - 1 - log variance) / 2, summed per image.
    private static Value Divergence(Graph g, Value mean, Value logVariance)
    {
        long n = mean.Shape[0], each = mean.Shape.Count / n;
        var terms = g.Binary(Binary.Sub, g.Plus(g.Unary(Unary.Square, mean), g.Unary(Unary.Exp, logVariance)), g.Affine(logVariance, 1, 1));
        var ones = new float[each];
        Array.Fill(ones, 0.5f);
        return g.Reshape(g.MatMul(g.Reshape(terms, n, each), g.Constant(ones, new Shape(each, 1))), n);
    }
}
