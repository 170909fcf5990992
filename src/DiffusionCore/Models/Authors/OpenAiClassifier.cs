using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The classifier of guided diffusion (Dhariwal and Nichol 2021): the way down of its U-Net, then attention from the mean to all places, or the mean.
/// <code>
/// x --input_blocks--middle_block--out.0.SiLU--pool--> logits
/// </code>
/// x: [N, H, W, InChannels] at any noise level, logits: [N, OutChannels]. Attention pooling takes images of the trained size only.
/// </summary>
public sealed class OpenAiClassifier : INetwork
{
    private readonly OpenAiUNetConfig config;
    private readonly Conv convIn;
    private readonly OpenAiEncoder encoder;
    private readonly Norm normOut;
    private readonly WeightRef? positions;
    private readonly QkvProjection? qkv;
    private readonly Linear output;

    public OpenAiClassifier(WeightScope w, OpenAiUNetConfig config)
    {
        this.config = config;
        int channels = config.Widths[^1];
        convIn = new(w.At("input_blocks.0.0"), config.InChannels, config.Widths[0], 3);
        encoder = new(w, config, 1, config.Widths[0]);
        normOut = new(w.At("out.0"), channels, OpenAiResBlock.Groups, LayerNorm.UsualEpsilon);
        if (config.AttentionPool)
        {
            var pool = w.At("out.2");
            int side = config.ImageSize / SizeMultiple;
            positions = pool.Tensor("positional_embedding", new Shape(channels, (long)side * side + 1));
            qkv = QkvProjection.Of(pool.At("qkv_proj"), channels, Heads, QkvOrder.PartHeadChannel);
        }

        output = new(w.At(config.AttentionPool ? "out.2.c_proj" : "out.3"), channels, config.OutChannels);
    }

    public OpenAiUNetConfig Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.Widths.Length - 1);

    private int Heads => config.HeadsFor(config.Widths[^1]);

    public void Record(NetworkIO io)
    {
        var x = OpenAiUNet.DeclareImage(io, "x", config.InChannels, SizeMultiple);
        if (config.AttentionPool && (x.Shape[1] != config.ImageSize || x.Shape[2] != config.ImageSize)) throw io.Problem("x", $"expected height and width {config.ImageSize}, found {x.Shape[1]} and {x.Shape[2]}");
        var logits = Record(io.Graph, x, io.Times("timesteps", x.Shape[0]));
        io.Output("logits", logits);
        if (io.Optional("y", 1) is not { } y) return;
        if (y.Shape[0] != x.Shape[0]) throw io.Problem("y", $"expected [{x.Shape[0]}], found {y.Shape}");
        io.Output("log_prob", RecordLogProbability(io.Graph, logits, y));
        io.OutputMap("grad", io.Graph.Affine(RecordGradient(io.Graph, x, logits, y), config.GradientScale));
    }

    /// <summary>The gradient of the sum of <see cref="RecordLogProbability"/> with respect to the image that the logits were computed from.</summary>
    /// <param name="classes">[N] class numbers.</param>
    /// <returns>In the shape of <paramref name="x"/>.</returns>
    public static Value RecordGradient(Graph g, Value x, Value logits, Value classes)
    {
        // d log softmax(l)[y]/dl = onehot(y) - softmax(l), which stays finite where the probability does not.
        int count = (int)logits.Shape[1];
        var seed = g.Binary(Binary.Sub, g.Embedding(classes, Identity(g, count)), g.Softmax(logits));
        return GradientPass.Append(g, logits, seed, x)[0];
    }

    /// <summary>ln of the probability of a class, [N].</summary>
    /// <param name="classes">[N] class numbers.</param>
    public Value RecordLogProbability(Graph g, Value logits, Value classes)
    {
        int count = config.OutChannels;
        var chosen = g.Times(g.Unary(Unary.Log, g.Softmax(logits)), g.Embedding(classes, Identity(g, count)));
        var ones = new float[count];
        Array.Fill(ones, 1);
        return g.Reshape(g.MatMul(chosen, g.Constant(ones, new Shape(count, 1))), logits.Shape[0]);
    }

    private static Value Identity(Graph g, int count)
    {
        var identity = new float[count * count];
        for (int i = 0; i < count; i++) identity[i * count + i] = 1;
        return g.Constant(identity, new Shape(count, count));
    }

    /// <param name="x">[N, H, W, InChannels].</param>
    /// <param name="t">[N] or [1].</param>
    /// <returns>[N, OutChannels].</returns>
    public Value Record(Graph g, Value x, Value t)
    {
        var emb = encoder.Embedding(g, t);
        var inputs = new OpenAiInputs(g.Silu(g.Expand(emb, emb.Shape.With(0, x.Shape[0]))), null, null);
        Value h;
        using (g.Layer("input_blocks.0")) h = convIn.Record(g, x);
        h = encoder.Record(g, h, inputs, new(g));
        using (g.Layer("out"))
        {
            h = g.Silu(normOut.Record(g, h));
            long n = h.Shape[0], places = h.Shape[1] * h.Shape[2], channels = h.Shape[3];
            var mean = g.Reshape(g.Add(new AveragePoolOp((int)h.Shape[1], (int)h.Shape[2], 1, 1), h), n, 1, channels);
            if (qkv is null || positions is null) return output.Record(g, g.Reshape(mean, n, channels));
            var tokens = g.Plus(g.Concat(1, mean, g.Reshape(h, n, places, channels)), g.Transpose(g.Stored(positions), 1, 0));
            var query = qkv.Query(g, g.Slice(tokens, 1, 0, 1));          // only the mean's answer is read
            var y = g.Attention(query, qkv.Key(g, tokens), qkv.Values(g, tokens), Heads, 1 / Math.Sqrt(channels / Heads));
            return output.Record(g, g.Reshape(y, n, channels));
        }
    }
}
