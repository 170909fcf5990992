using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The diffusion transformer (Peebles and Xie 2023).
/// <code>
/// x --patches--(+ position)--[block] x Layers--norm, modulated--proj_out_2--patches to pixels--> y
/// t, class --embedding--linear--> six modulations per block: shift, scale, gate of the attention and of the feed-forward layer
/// </code>
/// x: [N, H, W, InChannels], y: [N, H, W, OutChannels]; H and W are multiples of the patch. Weight names follow diffusers.
/// </summary>
public sealed class DiTTransformer2DModel : INetwork
{
    private const double ModulatedEpsilon = 1e-6;
    private const double MaxPeriod = 10000;

    private readonly DiTConfig config;
    private readonly Conv patches;
    private readonly List<Block> blocks = [];
    private readonly Linear projectModulation;
    private readonly Linear projectOut;

    public DiTTransformer2DModel(WeightScope w, DiTConfig config)
    {
        this.config = config;
        patches = new(w.At("pos_embed.proj"), config.InChannels, config.Channels, config.Patch, config.Patch, padding: 0);
        w.Ignore("pos_embed.pos_embed");
        for (int i = 0; i < config.Layers; i++) blocks.Add(new(w.At($"transformer_blocks.{i}"), config));
        projectModulation = new(w.At("proj_out_1"), config.Channels, 2 * config.Channels);
        projectOut = new(w.At("proj_out_2"), config.Channels, config.Patch * config.Patch * config.OutChannels);
    }

    public DiTConfig Config => config;

    public void Record(NetworkIO io)
    {
        var x = io.Map("hidden_states", config.InChannels);
        int p = config.Patch;
        if (x.Shape.Count == 0 || x.Shape[1] % p != 0 || x.Shape[2] % p != 0) throw io.Problem("hidden_states", $"expected height and width in multiples of {p}, found {x.Shape[1]} and {x.Shape[2]}");
        var classes = io.Input("class_labels", 1, Rate.Request);
        if (classes.Shape[0] != x.Shape[0]) throw io.Problem("class_labels", $"expected [{x.Shape[0]}], found {classes.Shape}");
        io.OutputMap("sample", Record(io.Graph, x, io.Times("timestep", x.Shape[0]), classes));
    }

    /// <param name="x">[N, H, W, InChannels].</param>
    /// <param name="t">[N] or [1].</param>
    /// <param name="classes">[N] class numbers; Classes stands for none.</param>
    /// <returns>[N, H, W, OutChannels].</returns>
    public Value Record(Graph g, Value x, Value t, Value classes)
    {
        long n = x.Shape[0], rows = x.Shape[1] / config.Patch, columns = x.Shape[2] / config.Patch;
        Value h;
        using (g.Layer("pos_embed"))
        {
            h = g.Reshape(patches.Record(g, x), n, rows * columns, config.Channels);
            h = g.Plus(h, g.Constant(Positions((int)rows, (int)columns), new Shape(1, rows * columns, config.Channels)));
        }

        var time = g.Add(new SinusoidalEmbeddingOp(Block.TimeChannels, true, 1), g.Cast(t, DType.F32));
        for (int i = 0; i < blocks.Count; i++)
        {
            using (g.Layer($"transformer_blocks.{i}")) h = blocks[i].Record(g, h, time, classes, rows, columns);
        }

        using (g.Layer("proj_out"))
        {
            var modulation = projectModulation.Record(g, g.Silu(blocks[0].Embedding(g, time, classes, n)));
            h = projectOut.Record(g, Modulated(g, h, Part(g, modulation, 0, 2), Part(g, modulation, 1, 2), ModulatedEpsilon));
            h = g.Transpose(g.Reshape(h, n, rows, columns, config.Patch, config.Patch, config.OutChannels), 0, 1, 3, 2, 4, 5);
            return g.Reshape(h, n, x.Shape[1], x.Shape[2], config.OutChannels);
        }
    }

    // Sinusoids of the column, then of the row; positions are in units of the patches of the trained size.
    private float[] Positions(int rows, int columns)
    {
        int quarter = config.Channels / 4, trained = config.SampleSize / config.Patch;
        var table = new float[rows * columns * config.Channels];
        for (int p = 0; p < rows * columns; p++)
        {
            for (int half = 0; half < 2; half++)
            {
                double at = half == 0 ? p % columns * (double)trained / columns : p / columns * (double)trained / rows;
                for (int k = 0; k < quarter; k++)
                {
                    var (sin, cos) = Math.SinCos(at * Math.Pow(MaxPeriod, -(double)k / quarter));
                    int start = p * config.Channels + half * 2 * quarter + k;
                    (table[start], table[start + quarter]) = ((float)sin, (float)cos);
                }
            }
        }

        return table;
    }

    // norm(x) * (1 + scale) + shift, one vector per image.
    private static Value Modulated(Graph g, Value x, Value shift, Value scale, double epsilon) =>
        g.Plus(g.Times(g.Add(new LayerNormOp((float)epsilon, Affine: false), x), g.Affine(scale, 1, 1)), shift);

    // [N, k C] -> the i-th [N, 1, C].
    private static Value Part(Graph g, Value modulation, int i, int parts = 6)
    {
        long channels = modulation.Shape[1] / parts;
        return g.Reshape(g.Slice(modulation, 1, i * channels, channels), modulation.Shape[0], 1, channels);
    }

    private sealed class Block
    {
        public const int TimeChannels = 256;

        private readonly DiTConfig config;
        private readonly TimestepEmbedding timeEmbedding;
        private readonly WeightRef classTable;
        private readonly Linear modulation;
        private readonly TokenAttention attention;
        private readonly FeedForward feedForward;

        public Block(WeightScope w, DiTConfig config)
        {
            this.config = config;
            int channels = config.Channels;
            timeEmbedding = new(w.At("norm1.emb.timestep_embedder"), TimeChannels, channels);
            classTable = w.Tensor("norm1.emb.class_embedder.embedding_table.weight", new Shape(config.Classes + 1, channels));
            modulation = new(w.At("norm1.linear"), channels, 6 * channels);
            attention = new(w.At("attn1"), channels, channels, config.Heads, config.HeadDim, config.AttentionBias);
            feedForward = new(w.At("ff"), channels, config.FeedForward);
        }

        /// <summary>[images, channels]: the time and the class.</summary>
        public Value Embedding(Graph g, Value time, Value classes, long images)
        {
            var emb = timeEmbedding.Record(g, time);
            return g.Plus(g.Expand(emb, emb.Shape.With(0, images)), g.Embedding(classes, g.Weight(classTable)));
        }

        public Value Record(Graph g, Value x, Value time, Value classes, long rows, long columns)
        {
            var m = modulation.Record(g, g.Silu(Embedding(g, time, classes, x.Shape[0])));
            var h = Modulated(g, x, Part(g, m, 0), Part(g, m, 1), ModulatedEpsilon);
            x = g.Plus(g.Times(TokenMerging.Attend(g, h, rows, columns, t => attention.Record(g, t, t), level: 0), Part(g, m, 2)), x);
            h = Modulated(g, x, Part(g, m, 3), Part(g, m, 4), config.Epsilon);
            return g.Plus(g.Times(feedForward.Record(g, h), Part(g, m, 5)), x);
        }
    }
}
