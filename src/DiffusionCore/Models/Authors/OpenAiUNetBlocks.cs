using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>What every block of such a U-Net reads beside the map.</summary>
/// <param name="Time">SiLU of the embedding.</param>
/// <param name="Context">[N, L, C] for the spatial transformers; null where there is none.</param>
/// <param name="Map">What modulates the norms; null where there is none.</param>
internal readonly record struct OpenAiInputs(Value Time, Value? Context, Value? Map);

/// <summary>One entry of input_blocks, middle_block or output_blocks: layers that are numbered from 0.</summary>
internal sealed class OpenAiBlock(WeightScope w, OpenAiUNetConfig config)
{
    private readonly List<Func<Graph, Value, OpenAiInputs, Value>> layers = [];

    public OpenAiBlock Residual(int inputs, int outputs, BlockResample resample = BlockResample.None)
    {
        var block = new OpenAiResBlock(Next, config, inputs, outputs, resample);
        layers.Add((g, x, c) => block.Record(g, x, c.Time, c.Map));
        return this;
    }

    /// <summary>Plain attention, or a spatial transformer where the network has those.</summary>
    public OpenAiBlock Attention(int channels, bool up = false)
    {
        var at = Next;
        int heads = config.HeadsFor(channels, up && config.TransformerDepth == 0);
        if (config.TransformerDepth > 0)
        {
            var transformer = new SpatialTransformer(
                at, new(channels, config.ContextChannels, heads, channels / heads, config.TransformerDepth, OpenAiResBlock.Groups, MapChannels: config.MapChannels));
            layers.Add((g, x, c) => transformer.Record(g, x, c.Context, map: c.Map));
            return this;
        }

        var attention = new QkvAttention(
            new(at.At("norm"), channels, OpenAiResBlock.Groups, LayerNorm.UsualEpsilon),
            QkvProjection.Of(at.At("qkv"), channels, heads, config.PartsFirst ? QkvOrder.PartHeadChannel : QkvOrder.HeadPartChannel),
            new(at.At("proj_out"), channels, channels), channels, heads);
        layers.Add((g, x, _) => attention.Record(g, x));
        return this;
    }

    public OpenAiBlock Down(int channels)
    {
        if (config.ResblockResample) return Residual(channels, channels, BlockResample.Down);
        if (!config.ConvResample)
        {
            layers.Add((g, x, _) => Resampling.Average2x(g, x));
            return this;
        }

        var conv = new Conv(Next.At("op"), channels, channels, 3, stride: 2);
        layers.Add((g, x, _) => conv.Record(g, x));
        return this;
    }

    public OpenAiBlock Up(int channels)
    {
        if (config.ResblockResample) return Residual(channels, channels, BlockResample.Up);
        var conv = config.ConvResample ? new Conv(Next.At("conv"), channels, channels, 3) : null;
        layers.Add((g, x, _) => conv is null ? Resampling.Nearest2x(g, x) : conv.Record(g, Resampling.Nearest2x(g, x)));
        return this;
    }

    public Value Record(Graph g, Value x, OpenAiInputs inputs)
    {
        for (int i = 0; i < layers.Count; i++)
        {
            using (g.Layer($"{i}")) x = layers[i](g, x, inputs);
        }

        return x;
    }

    private WeightScope Next => w.At($"{layers.Count}");
}

/// <summary>
/// The way down and the middle: what a classifier has too.
/// <code>
/// t --sinusoid--time_embed--(+ label_emb)--> emb
/// h --input_blocks--middle_block--> y
/// </code>
/// </summary>
internal sealed class OpenAiEncoder
{
    private readonly OpenAiUNetConfig config;
    private readonly Linear time0;
    private readonly Linear time2;
    private readonly List<OpenAiBlock> down = [];
    private readonly OpenAiBlock middle;

    /// <param name="first">Index of the first entry of input_blocks that is no first convolution.</param>
    /// <param name="stem">Channels that the first entry reads.</param>
    public OpenAiEncoder(WeightScope w, OpenAiUNetConfig config, int first, int stem)
    {
        this.config = config;
        time0 = new(w.At("time_embed.0"), config.ModelChannels, config.TimeChannels);
        time2 = new(w.At("time_embed.2"), config.TimeChannels, config.TimeChannels);
        int channels = stem;
        SkipChannels.Push(channels);
        for (int level = 0; level < config.Widths.Length; level++)
        {
            for (int j = 0; j < config.ResBlocks; j++)
            {
                var block = Add().Residual(channels, config.Widths[level]);
                channels = config.Widths[level];
                if (config.AttentionAt.Contains(1 << level)) block.Attention(channels);
                SkipChannels.Push(channels);
            }

            if (level == config.Widths.Length - 1) break;
            Add().Down(channels);
            SkipChannels.Push(channels);
        }

        middle = new OpenAiBlock(w.At("middle_block"), config).Residual(channels, channels).Attention(channels).Residual(channels, channels);

        OpenAiBlock Add()
        {
            var block = new OpenAiBlock(w.At($"input_blocks.{first + down.Count}"), config);
            down.Add(block);
            return block;
        }
    }

    /// <summary>Channels of the skips, in the order in which they are pushed.</summary>
    public Stack<int> SkipChannels { get; } = new();

    /// <summary>[N or 1, TimeChannels], before the activation.</summary>
    public Value Embedding(Graph g, Value t)
    {
        using (g.Layer("time_embed")) return time2.Record(g, g.Silu(time0.Record(g, g.Add(new SinusoidalEmbeddingOp(config.ModelChannels, Flip: true, 0), g.Cast(t, DType.F32)))));
    }

    /// <param name="skips">Holds the first map already.</param>
    public Value Record(Graph g, Value h, OpenAiInputs inputs, UNetSkips skips)
    {
        for (int i = 0; i < down.Count && !skips.Complete; i++)
        {
            using (g.Layer($"input_blocks.{i}")) h = down[i].Record(g, h, inputs);
            skips.Push(h);
        }

        if (skips.Complete) return h;
        using (g.Layer("middle_block")) return middle.Record(g, h, inputs);
    }
}

/// <summary>output_blocks: a residual block on the map beside a skip, [attention], [resolution up].</summary>
internal sealed class OpenAiDecoder
{
    private readonly List<OpenAiBlock> up = [];

    public OpenAiDecoder(WeightScope w, OpenAiUNetConfig config, Stack<int> skips)
    {
        skips = new(skips.Reverse());
        int channels = config.Widths[^1];
        for (int level = config.Widths.Length - 1; level >= 0; level--)
        {
            for (int j = 0; j <= config.ResBlocks; j++)
            {
                var block = new OpenAiBlock(w.At($"output_blocks.{up.Count}"), config).Residual(channels + skips.Pop(), config.Widths[level]);
                channels = config.Widths[level];
                if (config.AttentionAt.Contains(1 << level)) block.Attention(channels, up: true);
                if (level > 0 && j == config.ResBlocks) block.Up(channels);
                up.Add(block);
            }
        }
    }

    public Value Record(Graph g, Value h, OpenAiInputs inputs, UNetSkips skips)
    {
        h = skips.Turn(h);
        for (int i = 0; i < up.Count; i++)
        {
            if (skips.Leaves()) continue;
            using (g.Layer($"output_blocks.{i}")) h = up[i].Record(g, skips.Join(h), inputs);
        }

        return h;
    }
}
