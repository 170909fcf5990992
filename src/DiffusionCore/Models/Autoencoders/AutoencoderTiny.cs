using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The fields of an AutoencoderTiny's config.json, checked.</summary>
/// <param name="PoolBranch">
/// Whether the blocks at the lowest resolution have a pool branch in front of them (the FLUX.2 variant). Those models take and give images
/// in [0, 1] and say so by this field alone.
/// </param>
public sealed record AutoencoderTinyConfig(
    int InChannels, int OutChannels, int LatentChannels, int[] EncoderWidths, int[] DecoderWidths, int[] EncoderBlocks, int[] DecoderBlocks, int UpsamplingFactor, Unary Activation,
    double LatentMagnitude, double LatentShift, double ScalingFactor, double ShiftFactor, bool PoolBranch)
{
    public static AutoencoderTinyConfig Read(ConfigFile f)
    {
        int[] Counts(string name, string like, int[] widths, int[] fallback)
        {
            int[] blocks = f.GetOptionalInts(name, 1, 64) ?? fallback;
            return blocks.Length == widths.Length ? blocks : throw new ModelFileException(f.Path, name, $"expected {widths.Length} numbers as in {like}, found {blocks.Length}");
        }

        int[] encoder = f.GetOptionalInts("encoder_block_out_channels", 1, 1 << 16) ?? [64, 64, 64, 64], decoder = f.GetOptionalInts("decoder_block_out_channels", 1, 1 << 16) ?? [64, 64, 64, 64];
        if (encoder.Length is 0 or > 16) throw new ModelFileException(f.Path, "encoder_block_out_channels", $"expected 1 to 16 numbers, found {encoder.Length}");
        if (decoder.Length != encoder.Length) throw new ModelFileException(f.Path, "decoder_block_out_channels", $"expected {encoder.Length} numbers as in encoder_block_out_channels, found {decoder.Length}");
        f.GetWord("upsample_fn", "nearest", "nearest");
        return new(
            f.GetInt("in_channels", 3, 1, 1 << 16), f.GetInt("out_channels", 3, 1, 1 << 16), f.GetInt("latent_channels", 4, 1, 1 << 16), encoder, decoder,
            Counts("num_encoder_blocks", "encoder_block_out_channels", encoder, [1, 3, 3, 3]), Counts("num_decoder_blocks", "decoder_block_out_channels", decoder, [3, 3, 3, 1]),
            f.GetInt("upsampling_scaling_factor", 2, 2, 2), f.GetWord("act_fn", "relu", "relu", "silu", "swish", "gelu") switch { "relu" => Unary.Relu, "gelu" => Unary.Gelu, _ => Unary.Silu },
            AutoencoderConfig.Positive(f, "latent_magnitude", 3), f.GetDouble("latent_shift", 0.5), AutoencoderConfig.Positive(f, "scaling_factor", 1), f.GetDouble("shift_factor", 0),
            f.GetBool("use_midblock_gn", false));
    }
}

/// <summary>
/// The tiny autoencoder: plain convolutions that imitate a large first stage at a small part of its cost (madebyollin's TAESD, as diffusers has it).
/// <code>
/// image --conv--[block]--conv stride 2--[blocks]-- ... --conv--> z
/// z --3 tanh(z/3)--conv--act--[blocks]--double--conv-- ... --[block]--conv--> image
/// block: x --[+ pool branch]--conv.act.conv.act.conv--(+ skip)--ReLU--> y
/// </code>
/// image: [N, H, W, 3] in [0, 1] inside; z: [N, H/Factor, W/Factor, C], in the denoiser's scale. Weight names: encoder.layers.I, decoder.layers.I, where
/// activations and doublings count; the original files count the decoder's clamp as well.
/// </summary>
public sealed class AutoencoderTiny : IFirstStage
{
    private readonly List<Stage> encoder = [];
    private readonly List<Stage> decoder = [];
    private readonly Conv encoderOut;
    private readonly Conv decoderIn;

    public AutoencoderTiny(WeightScope w, AutoencoderTinyConfig config)
    {
        Config = config;
        var layers = w.At("encoder.layers");
        int next = 0, last = config.EncoderWidths.Length - 1;
        for (int i = 0; i <= last; i++)
        {
            int width = config.EncoderWidths[i];
            var conv = layers.At($"{next++}");
            var stage = new Stage { Conv = i == 0 ? new(conv, config.InChannels, width, 3) : new(conv, config.EncoderWidths[i - 1], width, 3, stride: 2, bias: false) };
            for (int j = 0; j < config.EncoderBlocks[i]; j++) stage.Blocks.Add(new(layers.At($"{next++}"), width, config.Activation, config.PoolBranch && i == last));
            encoder.Add(stage);
        }

        encoderOut = new(layers.At($"{next}"), config.EncoderWidths[^1], config.LatentChannels, 3);

        layers = w.At("decoder.layers");
        next = layers.Has("0.weight") ? 0 : 1;
        decoderIn = new(layers.At($"{next}"), config.LatentChannels, config.DecoderWidths[0], 3);
        next += 2;
        for (int i = 0; i <= last; i++)
        {
            int width = config.DecoderWidths[i];
            var blocks = new List<TinyBlock>();
            for (int j = 0; j < config.DecoderBlocks[i]; j++) blocks.Add(new(layers.At($"{next++}"), width, config.Activation, config.PoolBranch && i == 0));
            if (i < last) next++;
            var conv = layers.At($"{next++}");
            decoder.Add(new Stage { Conv = i == last ? new(conv, width, config.OutChannels, 3) : new(conv, width, config.DecoderWidths[i + 1], 3, bias: false), Blocks = blocks });
        }
    }

    public AutoencoderTinyConfig Config { get; }

    public int ImageChannels => Config.OutChannels;

    public int LatentChannels => Config.LatentChannels;

    public int Factor => 1 << (Config.EncoderWidths.Length - 1);

    /// <summary>[N, H, W, C] in [0, 1] to [N, h, w, LatentChannels].</summary>
    public Value Encode(Graph g, Value image)
    {
        using var scope = g.Layer("encoder");
        var x = image;
        for (int i = 0; i < encoder.Count; i++)
        {
            using var stage = g.Layer($"stages.{i}");
            x = encoder[i].Conv.Record(g, x);
            foreach (var block in encoder[i].Blocks) x = block.Record(g, x);
        }

        return encoderOut.Record(g, x);
    }

    /// <summary>[N, h, w, LatentChannels] to [N, H, W, C], nominally in [0, 1]; not clamped.</summary>
    public Value Decode(Graph g, Value z) => Tail(g, Head(g, z, 0), 0);

    public Value EncodeToLatent(Graph g, Value image, Value? noise = null) =>
        g.Affine(Encode(g, g.Affine(image, 0.5, 0.5)), Config.ScalingFactor, -Config.ShiftFactor * Config.ScalingFactor);

    public Value DecodeHead(Graph g, Value latent, int doublings) => Head(g, g.Affine(latent, 1 / Config.ScalingFactor, Config.ShiftFactor), doublings);

    public Value DecodeTail(Graph g, Value features, int doublings) => g.Affine(Tail(g, features, doublings), 2, -1);

    /// <summary>diffusers' class maps images from and to [-1, 1]; the variant with pool branches stands outside of it and does not.</summary>
    public void Record(NetworkIO io)
    {
        var g = io.Graph;
        bool native = Config.PoolBranch;
        if (io.Has("image"))
        {
            var image = io.Image("image", Config.InChannels, Factor);
            var z = Encode(g, native ? image : g.Affine(image, 0.5, 0.5));
            io.OutputMap(native ? "latent" : "latents", z);
            if (native) io.OutputMap("image", Decode(g, z));
        }

        if (io.Has("latent"))
        {
            var z = io.Map("latent", LatentChannels);
            var decoded = Decode(g, z);
            io.OutputMap("decoded", native ? decoded : g.Affine(decoded, 2, -1));

            // To the range [0, 1] in which latents can be stored as pictures, and back from there.
            double range = 2 * Config.LatentMagnitude;
            var scaled = g.Affine(z, 1 / range, Config.LatentShift);
            scaled = g.Binary(Binary.Min, g.Binary(Binary.Max, scaled, g.Constant([0], new Shape(1))), g.Constant([1], new Shape(1)));
            io.OutputMap("scaled", scaled);
            io.OutputMap("unscaled", g.Affine(scaled, range, -Config.LatentShift * range));
        }
    }

    // The blocks of the lowest resolution belong to the head: the norms of their pool branches look at the whole map.
    private int HeadStages(int doublings) => Math.Max(1, decoder.Count - doublings);

    private Value Head(Graph g, Value z, int doublings)
    {
        using var scope = g.Layer("decoder");
        var x = g.Affine(g.Unary(Unary.Tanh, g.Affine(z, 1.0 / 3)), 3);
        x = g.Unary(Config.Activation, decoderIn.Record(g, x));
        for (int i = 0; i < HeadStages(doublings); i++)
        {
            if (i > 0) x = Double(g, i - 1, x);
            x = Blocks(g, i, x);
        }

        return x;
    }

    private Value Tail(Graph g, Value x, int doublings)
    {
        using var scope = g.Layer("decoder");
        for (int i = HeadStages(doublings); i < decoder.Count; i++) x = Blocks(g, i, Double(g, i - 1, x));
        using (g.Layer($"stages.{decoder.Count - 1}")) return decoder[^1].Conv.Record(g, x);
    }

    private Value Blocks(Graph g, int i, Value x)
    {
        using var scope = g.Layer($"stages.{i}");
        foreach (var block in decoder[i].Blocks) x = block.Record(g, x);
        return x;
    }

    private Value Double(Graph g, int i, Value x)
    {
        using var scope = g.Layer($"stages.{i}");
        return decoder[i].Conv.Record(g, Resampling.Nearest2x(g, x));
    }

    private sealed class Stage
    {
        public required Conv Conv { get; init; }

        public List<TinyBlock> Blocks { get; init; } = [];
    }

    private sealed class TinyBlock
    {
        private const int PoolGroups = 4, PoolExpansion = 4;

        private readonly Conv[] convs;
        private readonly Unary activation;
        private readonly (Conv In, Norm Norm, Conv Out)? pool;

        public TinyBlock(WeightScope w, int channels, Unary activation, bool poolBranch)
        {
            this.activation = activation;
            convs = [.. new[] { 0, 2, 4 }.Select(i => new Conv(w.At($"conv.{i}"), channels, channels, 3))];
            if (poolBranch)
            {
                int wide = PoolExpansion * channels;
                var p = w.At("pool");
                pool = (new(p.At("0"), channels, wide, 1, bias: false), new(p.At("1"), wide, PoolGroups, 1e-5), new(p.At("3"), wide, channels, 1, bias: false));
            }
        }

        public Value Record(Graph g, Value x)
        {
            if (pool is { } p) x = g.Plus(p.Out.Record(g, g.Unary(Unary.Relu, p.Norm.Record(g, p.In.Record(g, x)))), x);
            var h = g.Unary(activation, convs[0].Record(g, x));
            h = g.Unary(activation, convs[1].Record(g, h));
            return g.Unary(Unary.Relu, g.Plus(convs[2].Record(g, h), x));
        }
    }
}
