using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// Multi-scale VQGAN, the first stage of Frido (Fan et al. 2022): a latent per resolution, each with its own codebook.
/// <code>
/// image --levels--+--deepest------mid--norm.SiLU--conv--> coarse --ms_quant_conv.0--> h0 --nearest code--+
///                 +--second deepest--mid--norm.SiLU--conv--> fine --+                                    |
///                                                                   concat --1x1--transposed conv x2------+
///                                                                   +--shared_decoder--ms_quant_conv.1--> h1
/// latent = [h0 repeated 2x2 | h1]
/// latent --nearest code per level--> [fine | coarse] --post_quant_conv--decoder--> image
/// </code>
/// image: [N, H, W, 3] in [-1, 1]; latent: [N, h, w, sum of the levels' channels], the coarse level first, before quantisation. The authors' keys.
/// A checkpoint of the denoiser scales each level by a number of its own; that belongs to the denoiser.
/// </summary>
public sealed class MultiscaleVQModel : IFirstStage
{
    // Index 0 is the finest in the encoder's heads, the coarsest in everything that follows, as in the authors' keys.
    private readonly AutoencoderDown down;
    private readonly List<(AutoencoderMiddle Middle, AutoencoderHead Head)> heads = [];
    private readonly List<Conv> quantConvs = [];
    private readonly List<Codebook> codebooks = [];
    private readonly List<(WeightRef Weight, WeightRef Bias)> enlargements = [];
    private readonly List<Conv> sharedConvs = [];
    private readonly List<AutoencoderDecoder> sharedDecoders = [];
    private readonly Conv postQuantConv;
    private readonly AutoencoderDecoder decoder;

    public MultiscaleVQModel(WeightScope w, MultiscaleVQConfig config)
    {
        Config = config;
        int levels = config.EmbedChannels.Length, coarser = 0;
        var encoder = w.At("encoder");
        down = new(encoder, config.Encoder, config.InChannels);
        for (int i = 0; i < levels; i++)
        {
            int width = config.Encoder.Widths[config.Encoder.Levels - levels + i];
            heads.Add((new(encoder.At($"mid_ms.{i}"), config.Encoder, width), new(encoder.At($"norm_out_ms.{i}"), encoder.At($"conv_out_ms.{i}"), config.Encoder, width, config.FeatureChannels[levels - 1 - i])));
        }

        for (int i = 0; i < levels; i++)
        {
            int embed = config.EmbedChannels[i], features = config.FeatureChannels[i];
            if (i > 0)
            {
                var up = w.At($"upsample.{i - 1}");
                enlargements.Add((up.Tensor("weight", new Shape(coarser, coarser, 4, 4)), up.Tensor("bias", new Shape(coarser))));
                sharedConvs.Add(new(w.At($"shared_post_quant_conv.{i - 1}"), coarser, coarser, 1));
                sharedDecoders.Add(new(w.At($"shared_decoder.{i - 1}"), config.Shared, coarser + features, embed, $"shared_decoder.{i - 1}"));
            }

            quantConvs.Add(new(w.At($"ms_quant_conv.{i}"), i > 0 ? embed : features, embed, 1));
            codebooks.Add(new(w.At($"ms_quantize.{i}"), config.Codes[i], embed));
            coarser += embed;
        }

        postQuantConv = new(w.At("post_quant_conv"), coarser, config.DecoderChannels, 1);
        decoder = new(w.At("decoder"), config.Decoder, config.DecoderChannels, config.OutChannels);
    }

    public MultiscaleVQConfig Config { get; }

    public int Levels => Config.EmbedChannels.Length;

    public int ImageChannels => Config.OutChannels;

    public int LatentChannels => Config.EmbedChannels.Sum();

    public int Factor => Config.Decoder.Factor;

    /// <summary>What the encoder makes of an image, per level from the coarsest: the latent before quantisation, its codes and their vectors, each at its own resolution.</summary>
    public (Value Latent, Value Codes, Value Vectors)[] Encode(Graph g, Value image)
    {
        var features = new Value[Levels];
        using (g.Layer("encoder"))
        {
            var all = down.Record(g, image);
            for (int i = 0; i < Levels; i++)
            {
                using var head = g.Layer($"mid_ms.{i}");
                features[Levels - 1 - i] = heads[i].Head.Record(g, heads[i].Middle.Record(g, all[all.Length - Levels + i]));
            }
        }

        var results = new (Value Latent, Value Codes, Value Vectors)[Levels];
        for (int i = 0; i < Levels; i++)
        {
            var h = features[i];
            if (i > 0) h = Fuse(g, i - 1, results[i - 1].Vectors, h);
            using (g.Layer($"ms_quant_conv.{i}")) h = quantConvs[i].Record(g, h);
            var (codes, vectors) = codebooks[i].Quantise(g, h);
            results[i] = (h, codes, vectors);
        }

        return results;
    }

    /// <summary>Codes and vectors of a latent, per level from the coarsest, all at the finest resolution.</summary>
    /// <param name="repeated">
    /// Whether a level holds each number once for every pixel that it covers, as an encoder and a pyramid's sampling leave it: it is then looked up once per
    /// number, and the codes are at the level's own resolution.
    /// </param>
    public (Value Codes, Value Vectors)[] Quantise(Graph g, Value latent, bool repeated = false)
    {
        var results = new (Value, Value)[Levels];
        long at = 0;
        for (int i = 0; i < Levels; i++)
        {
            var level = g.Slice(latent, 3, at, Config.EmbedChannels[i]);
            at += Config.EmbedChannels[i];
            int copies = 1 << (Levels - 1 - i);
            if (!repeated || copies == 1)
            {
                results[i] = codebooks[i].Quantise(g, level);
                continue;
            }

            var (codes, vectors) = codebooks[i].Quantise(g, Corners(g, level, copies));
            results[i] = (codes, Enlarged(g, vectors, latent.Shape));
        }

        return results;
    }

    // The first pixel of each square.
    private static Value Corners(Graph g, Value x, int side)
    {
        long n = x.Shape[0], h = x.Shape[1], w = x.Shape[2], c = x.Shape[3];
        if (h % side != 0 || w % side != 0) throw new InvalidOperationException($"{h}x{w} does not divide into squares of {side}");
        x = g.Slice(g.Reshape(x, n * (h / side), side, w * c), 1, 0, 1);
        return g.Reshape(g.Slice(g.Reshape(x, n * (h / side), w / side, side, c), 2, 0, 1), n, h / side, w / side, c);
    }

    /// <param name="vectors">Per level from the coarsest, all at the finest resolution.</param>
    public Value Decode(Graph g, IEnumerable<Value> vectors) => decoder.RecordTail(g, Head(g, vectors, 0), 0);

    public Value EncodeToLatent(Graph g, Value image, Value? noise = null) => AtFinest(g, Encode(g, image).Select(l => l.Latent));

    public Value DecodeHead(Graph g, Value latent, int doublings) => DecodeHead(g, latent, doublings, repeated: false);

    /// <param name="repeated">As in <see cref="Quantise"/>.</param>
    public Value DecodeHead(Graph g, Value latent, int doublings, bool repeated) => Head(g, Quantise(g, latent, repeated).Select(l => l.Vectors), doublings);

    public Value DecodeTail(Graph g, Value features, int doublings) => decoder.RecordTail(g, features, doublings);

    public void Record(NetworkIO io)
    {
        var g = io.Graph;
        if (io.Has("image"))
        {
            var levels = Encode(g, io.Image("image", Config.InChannels, Config.Encoder.Factor));
            var latent = AtFinest(g, levels.Select(l => l.Latent));
            io.OutputMap("latent", latent);
            io.OutputMap("reconstruction", Decode(g, Quantise(g, latent).Select(l => l.Vectors)));

            // In training the codes found on the way are used as they are, and the finest comes first.
            var vectors = levels.Select(l => Enlarged(g, l.Vectors, levels[^1].Vectors.Shape)).ToArray();
            io.OutputMap("train_quant", g.Concat(3, [.. vectors.AsEnumerable().Reverse()]));
            io.OutputMap("train_recon", Decode(g, vectors));
            for (int i = 0; i < Levels; i++) io.Output($"train_codes{i}", g.Reshape(levels[i].Codes, levels[i].Codes.Shape[0], levels[i].Codes.Shape.Count / levels[i].Codes.Shape[0]));
        }

        if (io.Has("latent"))
        {
            var levels = Quantise(g, io.Map("latent", LatentChannels));
            io.OutputMap("decoded", Decode(g, levels.Select(l => l.Vectors)));
            for (int i = 0; i < Levels; i++) io.Output($"codes{i}", levels[i].Codes);
        }
    }

    private Value Head(Graph g, IEnumerable<Value> vectors, int doublings)
    {
        Value z = g.Concat(3, [.. vectors.Reverse()]);
        using (g.Layer("post_quant_conv")) z = postQuantConv.Record(g, z);
        return decoder.RecordHead(g, z, doublings);
    }

    private Value Fuse(Graph g, int index, Value u, Value feature)
    {
        var (weight, bias) = enlargements[index];
        using (g.Layer($"upsample.{index}")) u = g.ConvTranspose2d(u, g.Weight(weight), g.Weight(bias), new ConvTranspose2dOp(true, 2, 2, 1, 1, 1, 1));
        using (g.Layer($"shared_post_quant_conv.{index}")) u = sharedConvs[index].Record(g, u);
        return sharedDecoders[index].Record(g, g.Concat(3, u, feature));
    }

    private static Value AtFinest(Graph g, IEnumerable<Value> levels)
    {
        Value[] all = [.. levels];
        return g.Concat(3, [.. all.Select(l => Enlarged(g, l, all[^1].Shape))]);
    }

    private static Value Enlarged(Graph g, Value x, Shape like) => x.Shape[1] == like[1] && x.Shape[2] == like[2] ? x : g.UpsampleNearest(x, (int)like[1], (int)like[2]);
}
