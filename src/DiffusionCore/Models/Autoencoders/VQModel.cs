using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>How a vector-quantising first stage is configured.</summary>
/// <param name="EmbedChannels">Channels of the latent and width of a code.</param>
public sealed record VQModelConfig(AutoencoderConfig Base, int EmbedChannels, int Codes)
{
    private const int MaximumCodes = 1 << 24;

    /// <summary>diffusers' default. The authors' own models do not scale.</summary>
    private const double DefaultScalingFactor = 0.18215;

    public static VQModelConfig Read(ConfigFile f)
    {
        var shared = AutoencoderConfig.Read(f, posterior: false, DefaultScalingFactor);
        if (f.GetBool("lookup_from_codebook", false)) throw new ModelFileException(f.Path, "lookup_from_codebook", "is not supported; expected false: latents are maps, not code numbers");
        return new(shared, f.GetInt("vq_embed_dim", shared.LatentChannels, 1, 1 << 10), f.GetInt("num_vq_embeddings", 256, 1, MaximumCodes));
    }

    /// <summary>Reads the authors' configuration (latent-diffusion): ddconfig beside embed_dim and n_embed.</summary>
    public static VQModelConfig ReadAuthors(ConfigFile f)
    {
        var inner = f.GetOptionalObject("ddconfig") ?? throw new ModelFileException(f.Path, "ddconfig", "expected an object, found nothing");
        return new(AutoencoderConfig.ReadAuthors(inner), f.GetInt("embed_dim", null, 1, 1 << 10), f.GetInt("n_embed", null, 1, MaximumCodes));
    }
}

/// <summary>
/// Vector-quantising autoencoder (Esser et al. 2021), a first stage whose decoder quantises.
/// <code>
/// image --encoder--quant_conv--> z
/// z --nearest code--post_quant_conv--decoder--> image
/// </code>
/// image: [N, H, W, 3] in [-1, 1]; z: [N, H/Factor, W/Factor, C], continuous: a denoiser works before quantisation.
/// Takes diffusers' keys and the authors'.
/// </summary>
public sealed class VQModel : IFirstStage
{
    private readonly AutoencoderEncoder encoder;
    private readonly Conv quantConv;
    private readonly Codebook codebook;
    private readonly Conv postQuantConv;
    private readonly AutoencoderDecoder decoder;
    private readonly bool authors;

    /// <param name="authors">Names the outputs of an evaluation as the authors' code does, and adds theirs.</param>
    public VQModel(WeightScope w, VQModelConfig config, bool authors = false)
    {
        Config = config;
        this.authors = authors;
        var shared = config.Base;
        encoder = new(w.At("encoder"), shared.Layout, shared.InChannels, shared.EncoderOutputs);
        quantConv = new(w.At("quant_conv"), shared.EncoderOutputs, config.EmbedChannels, 1);
        codebook = new(w.At("quantize"), config.Codes, config.EmbedChannels);
        postQuantConv = new(w.At("post_quant_conv"), config.EmbedChannels, shared.LatentChannels, 1);
        decoder = new(w.At("decoder"), shared.Layout, shared.LatentChannels, shared.OutChannels);
    }

    public VQModelConfig Config { get; }

    public int ImageChannels => Config.Base.OutChannels;

    public int LatentChannels => Config.EmbedChannels;

    public int Factor => Config.Base.Layout.Factor;

    /// <summary>[N, H, W, C] to [N, h, w, LatentChannels], before quantisation and scaling.</summary>
    public Value Encode(Graph g, Value image)
    {
        var x = encoder.Record(g, image);
        using (g.Layer("quant_conv")) return quantConv.Record(g, x);
    }

    /// <summary>[N, h, w, LatentChannels], not scaled, to [N, H, W, C].</summary>
    public Value Decode(Graph g, Value z, bool quantise = true) => decoder.RecordTail(g, Head(g, z, quantise, 0), 0);

    public Value EncodeToLatent(Graph g, Value image, Value? noise = null) => g.Affine(Encode(g, image), Config.Base.ScalingFactor);

    public Value DecodeHead(Graph g, Value latent, int doublings) => Head(g, g.Affine(latent, 1 / Config.Base.ScalingFactor), quantise: true, doublings);

    public Value DecodeTail(Graph g, Value features, int doublings) => decoder.RecordTail(g, features, doublings);

    public void Record(NetworkIO io)
    {
        var g = io.Graph;
        if (io.Has("image"))
        {
            var z = Encode(g, io.Image("image", Config.Base.InChannels, Factor));
            io.OutputMap(authors ? "latent" : "latents", z);
            if (authors)
            {
                io.OutputMap("reconstruction", Decode(g, z));
            }
            else
            {
                var (codes, vectors) = codebook.Quantise(g, z);
                io.OutputMap("quantized", vectors);
                io.Output("indices", g.Reshape(codes, codes.Shape.Count));
            }
        }

        if (io.Has("latent"))
        {
            var z = io.Map("latent", LatentChannels);
            var (codes, vectors) = codebook.Quantise(g, z);
            io.OutputMap("decoded", Decode(g, vectors, quantise: false));
            io.OutputMap("decoded_not_quantized", Decode(g, z, quantise: false));
            if (authors)
            {
                io.OutputMap("quantized", vectors);
                io.Output("codes", codes);
            }
            else
            {
                io.Output("decoded_indices", g.Reshape(codes, codes.Shape.Count));
            }
        }
    }

    private Value Head(Graph g, Value z, bool quantise, int doublings)
    {
        if (quantise) z = codebook.Quantise(g, z).Vectors;
        using (g.Layer("post_quant_conv")) z = postQuantConv.Record(g, z);
        return decoder.RecordHead(g, z, doublings);
    }
}

/// <summary>A table of vectors and the nearest of them. Weight name: embedding.weight [codes, width].</summary>
public sealed class Codebook(WeightScope w, int codes, int width)
{
    private readonly WeightRef table = w.Tensor("embedding.weight", new Shape(codes, width));

    /// <param name="z">[..., width].</param>
    /// <returns>Code numbers [...] and vectors [..., width].</returns>
    public (Value Codes, Value Vectors) Quantise(Graph g, Value z)
    {
        using var scope = g.Layer("quantize");
        var numbers = g.NearestCode(z, g.Weight(table));
        return (numbers, g.Embedding(numbers, g.Weight(table)));
    }
}
