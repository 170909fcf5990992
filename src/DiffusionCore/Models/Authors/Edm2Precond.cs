using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// A network of NVlabs/edm2 with its preconditioning (Karras et al. 2024).
/// <code>
/// c_noise --emb_fourier--emb_noise--(mix emb_label)--silu--> emb
/// [c_in x, 1] --enc--dec--out_conv * out_gain--> F;   D = c_skip x + c_out F
/// c_noise --logvar_fourier--logvar_linear--> logvar
/// </code>
/// x, D: [N, H, W, ImageChannels], sigma: [N], logvar: [N, 1, 1, 1].
/// </summary>
public sealed class Edm2Precond : INetwork
{
    private readonly Edm2Config config;
    private readonly MagnitudeFourier fourier;
    private readonly MagnitudeLinear noise;
    private readonly MagnitudeLinear? label;
    private readonly MagnitudeConv convIn;
    private readonly List<(string Name, Edm2Block Block)> encoder = [];
    private readonly List<(string Name, Edm2Block Block, bool Skip)> decoder = [];
    private readonly MagnitudeConv convOut;
    private readonly MagnitudeFourier varianceFourier;
    private readonly MagnitudeLinear variance;

    public Edm2Precond(WeightScope w, Edm2Config config)
    {
        this.config = config;
        varianceFourier = new(w.At("logvar_fourier"), config.LogVarianceChannels);
        variance = new(w.At("logvar_linear"), config.LogVarianceChannels, 1);
        w = w.At("unet");
        fourier = new(w.At("emb_fourier"), config.NoiseChannels);
        noise = new(w.At("emb_noise"), config.NoiseChannels, config.EmbeddingChannels);
        if (config.LabelChannels > 0) label = new(w.At("emb_label"), config.LabelChannels, config.EmbeddingChannels);
        var skips = new Stack<int>();
        int channels = config.Widths[0], last = config.Widths.Length - 1;
        convIn = new(w.At($"enc.{Name(0)}_conv"), config.ImageChannels + 1, channels, 3);
        skips.Push(channels);
        for (int level = 0; level <= last; level++)
        {
            if (level > 0) Encode($"{Name(level)}_down", channels, false, BlockResample.FirDown);
            for (int j = 0; j < config.Blocks; j++) Encode($"{Name(level)}_block{j}", config.Widths[level], Attends(level));
        }

        for (int level = last; level >= 0; level--)
        {
            if (level == last)
            {
                Decode($"{Name(level)}_in0", channels, channels, true);
                Decode($"{Name(level)}_in1", channels, channels, false);
            }
            else
            {
                Decode($"{Name(level)}_up", channels, channels, false, BlockResample.FirUp);
            }

            for (int j = 0; j <= config.Blocks; j++) Decode($"{Name(level)}_block{j}", channels + skips.Pop(), config.Widths[level], Attends(level), skip: true);
        }

        convOut = new(w.At("out_conv"), channels, config.ImageChannels, 3, w.Tensor("out_gain", new Shape([])));

        void Encode(string name, int outputs, bool attends, BlockResample resample = BlockResample.None)
        {
            encoder.Add((name, new(w.At("enc." + name), config, true, channels, outputs, attends, resample)));
            skips.Push(channels = outputs);
        }

        void Decode(string name, int inputs, int outputs, bool attends, BlockResample resample = BlockResample.None, bool skip = false)
        {
            decoder.Add((name, new(w.At("dec." + name), config, false, inputs, outputs, attends, resample), skip));
            channels = outputs;
        }
    }

    public Edm2Config Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.Widths.Length - 1);

    public void Record(NetworkIO io)
    {
        var x = OpenAiUNet.DeclareImage(io, "x", config.ImageChannels, SizeMultiple);
        var sigma = io.Times("sigma", x.Shape[0]);
        var labels = EdmPrecond.DeclareVector(io, "class_labels", x.Shape[0], config.LabelChannels);
        io.OutputMap("D", Record(io.Graph, x, sigma, labels));
        if (labels is not null) io.OutputMap("D_nolabel", Record(io.Graph, x, sigma, null));
        io.Output("logvar", RecordLogVariance(io.Graph, sigma));
    }

    /// <summary>The denoised image.</summary>
    /// <param name="x">[N, H, W, ImageChannels].</param>
    /// <param name="sigma">[N] or [1].</param>
    /// <param name="labels">[N, LabelChannels]; null for the vector of zeros.</param>
    public Value Record(Graph g, Value x, Value sigma, Value? labels)
    {
        double data = config.SigmaData;
        var level = g.Reshape(sigma, sigma.Shape[0], 1, 1, 1);
        var total = g.Affine(g.Unary(Unary.Square, level), 1, data * data);
        var inverse = g.Unary(Unary.Reciprocal, g.Unary(Unary.Sqrt, total));
        var y = RecordNetwork(g, g.Times(x, inverse), NoiseOf(g, sigma), labels);
        var skip = g.Times(x, g.Affine(g.Unary(Unary.Reciprocal, total), data * data));
        return g.Plus(skip, g.Times(y, g.Affine(g.Times(level, inverse), data)));
    }

    /// <summary>The estimate of the logarithm of the loss at a noise level, [N, 1, 1, 1].</summary>
    public Value RecordLogVariance(Graph g, Value sigma)
    {
        using var layer = g.Layer("logvar");
        return g.Reshape(variance.Record(g, varianceFourier.Record(g, NoiseOf(g, sigma))), sigma.Shape[0], 1, 1, 1);
    }

    private static Value NoiseOf(Graph g, Value sigma) => g.Affine(g.Unary(Unary.Log, sigma), 0.25);

    private string Name(int level) => $"{config.Resolution >> level}x{config.Resolution >> level}";

    private bool Attends(int level) => config.AttentionAt.Contains(config.Resolution >> level);

    private Value RecordNetwork(Graph g, Value x, Value c, Value? labels)
    {
        Value emb;
        using (g.Layer("emb"))
        {
            emb = noise.Record(g, fourier.Record(g, c));
            if (label is not null)
            {
                var vector = labels ?? g.Constant(new float[config.LabelChannels], new Shape(1, config.LabelChannels));
                emb = g.MpSum(emb, label.Record(g, g.Affine(vector, Math.Sqrt(config.LabelChannels))), config.LabelBalance);
            }

            emb = g.MpSilu(g.Expand(emb, emb.Shape.With(0, x.Shape[0])));
        }

        // A channel of ones stands in for the offsets that the convolutions do not have.
        var ones = g.Expand(g.Constant([1], new Shape(1, 1, 1, 1)), x.Shape.With(3, 1));
        Value h;
        using (g.Layer("enc.conv")) h = convIn.Record(g, g.Concat(3, x, ones));
        var skips = new Stack<Value>([h]);
        foreach (var (name, block) in encoder)
        {
            using (g.Layer("enc." + name)) skips.Push(h = block.Record(g, h, emb));
        }

        foreach (var (name, block, skip) in decoder)
        {
            using (g.Layer("dec." + name)) h = block.Record(g, skip ? g.MpConcat(h, skips.Pop(), config.ConcatBalance) : h, emb);
        }

        using (g.Layer("out_conv")) return convOut.Record(g, h);
    }
}
