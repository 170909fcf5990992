using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The way down of a conditional U-Net, which a ControlNet has too.
/// <code>
/// t --sinusoid--[+ condition]--MLP--(+ class)--(+ text and sizes)--> emb
/// x --conv_in--[(+ hint)]--down_blocks--mid_block--> h
///                 +--skips--+
/// </code>
/// x: [N, H, W, InChannels], h: [N, H', W', last width]. Weight names follow diffusers.
/// </summary>
internal sealed class UNetConditionEncoder
{
    private const float Masked = -10000;

    private readonly UNet2DConditionConfig config;
    private readonly Conv convIn;
    private readonly TimestepEmbedding timeEmbedding;
    private readonly WeightRef? classTable;
    private readonly TimestepEmbedding? classEmbedding;
    private readonly Linear? classProjection;
    private readonly TimestepEmbedding? addEmbedding;
    private readonly Linear? contextProjection;
    private readonly List<UNetConditionDownBlock> down = [];
    private readonly UNetConditionMiddleBlock? middle;

    public UNetConditionEncoder(WeightScope w, UNet2DConditionConfig config)
    {
        this.config = config;
        int[] widths = config.BlockOutChannels;
        int time = config.TimeChannels;
        convIn = new(w.At("conv_in"), config.InChannels, widths[0], config.ConvInKernel);
        timeEmbedding = new(w.At("time_embedding"), widths[0], time, config.Activation, config.TimeConditionChannels);
        switch (config.ClassEmbedding)
        {
            case ConditionClassKind.Table: classTable = w.Tensor("class_embedding.weight", new Shape(config.NumClassEmbeds!.Value, time)); break;
            case ConditionClassKind.Timestep: classEmbedding = new(w.At("class_embedding"), widths[0], time, config.Activation); break;
            case ConditionClassKind.Projection: classEmbedding = new(w.At("class_embedding"), config.ProjectionChannels!.Value, time); break;
            case ConditionClassKind.SimpleProjection: classProjection = new(w.At("class_embedding"), config.ProjectionChannels!.Value, time); break;
        }

        if (config.TextTime) addEmbedding = new(w.At("add_embedding"), config.ProjectionChannels!.Value, time);
        if (config.EncoderHiddenChannels is { } hidden) contextProjection = new(w.At("encoder_hid_proj"), hidden, config.ContextChannels[0]);
        for (int i = 0; i < widths.Length; i++)
        {
            var level = new UNetConditionLevel(config, i, config.TransformerDepth[i], config.DownCross[i]);
            down.Add(new(w.At($"down_blocks.{i}"), level, widths[Math.Max(i - 1, 0)], last: i == widths.Length - 1));
        }

        if (config.Middle != MiddleKind.None)
            middle = new(w.At("mid_block"), new(config, widths.Length - 1, config.TransformerDepth[^1], config.Middle == MiddleKind.CrossAttention));
    }

    /// <summary>What the blocks read: embeddings, context and mask.</summary>
    public UNetBlockInputs RecordInputs(Graph g, Value t, UNetConditions c, long images)
    {
        Value emb;
        using (g.Layer("time_embedding"))
        {
            emb = timeEmbedding.Record(g, Sinusoid(g, t, config.BlockOutChannels[0]), c.TimeCondition);
            if (config.TimestepPostActivation is { } post) emb = g.Unary(post, emb);
            if (ClassVector(g, c) is { } vector)
                emb = config.ClassConcatenated ? g.Concat(1, g.Expand(emb, emb.Shape.With(0, images)), vector) : g.Plus(emb, vector);
        }

        if (addEmbedding is not null)
        {
            using (g.Layer("add_embedding")) emb = g.Plus(emb, Added(g, c));
        }

        emb = g.Expand(emb, emb.Shape.With(0, images));
        if (config.TimeEmbeddingActivation is { } function) emb = g.Unary(function, emb);
        if (!config.SkipTimeActivation) emb = g.Unary(config.Activation, emb);
        var context = c.Context;
        if (contextProjection is not null && context is { } tokens)
        {
            using (g.Layer("encoder_hid_proj")) context = contextProjection.Record(g, tokens);
        }

        Value? mask = c.ContextMask is { } m ? g.Reshape(g.Affine(g.Cast(m, DType.F32), -Masked, Masked), m.Shape[0], 1, 1, m.Shape[1]) : null;
        return new(emb, context, mask);
    }

    /// <summary>The first convolution.</summary>
    public Value RecordIn(Graph g, Value x)
    {
        if (config.CenterInput) x = g.Affine(x, 2, -1);
        using (g.Layer("conv_in")) return convIn.Record(g, x);
    }

    /// <summary>Everything after the first convolution; the skips come finest first, the first convolution's result before them.</summary>
    /// <param name="wanted">Skips that are read; where that is not all of them, the way down ends there and there is no middle.</param>
    public (Value H, List<Value> Skips) Record(Graph g, Value h, UNetBlockInputs inputs, IReadOnlyList<Value> adapter, int wanted = int.MaxValue)
    {
        var skips = new List<Value> { h };
        for (int i = 0; i < down.Count; i++)
        {
            using (g.Layer($"down_blocks.{i}")) h = down[i].Record(g, h, inputs, skips, i < adapter.Count ? adapter[i] : null, wanted);
        }

        if (middle is null || skips.Count >= wanted) return (h, skips);
        using (g.Layer("mid_block")) return (middle.Record(g, h, inputs), skips);
    }

    /// <summary>Channels, height and width of every skip, and of the middle, of a latent.</summary>
    public List<(int Channels, long Height, long Width)> MapSizes(long height, long width)
    {
        var sizes = new List<(int, long, long)> { (config.BlockOutChannels[0], height, width) };
        for (int i = 0; i < down.Count; i++)
        {
            int channels = config.BlockOutChannels[i];
            for (int j = 0; j < config.LayersPerBlock[i]; j++) sizes.Add((channels, height, width));
            if (i == down.Count - 1) continue;
            (height, width) = ((height + config.DownsamplePadding) / 2, (width + config.DownsamplePadding) / 2);
            sizes.Add((channels, height, width));
        }

        sizes.Add((config.BlockOutChannels[^1], height, width));
        return sizes;
    }

    private Value Sinusoid(Graph g, Value t, int channels) => g.Add(new SinusoidalEmbeddingOp(channels, config.FlipSinToCos, config.FrequencyShift), g.Cast(t, DType.F32));

    private Value? ClassVector(Graph g, UNetConditions c)
    {
        if (config.ClassEmbedding == ConditionClassKind.None) return null;
        var classes = c.Classes ?? throw new InvalidOperationException("this network needs classes");
        return config.ClassEmbedding switch
        {
            ConditionClassKind.Table => g.Embedding(classes.DType.IsFloat() ? g.Cast(classes, DType.I64) : classes, g.Weight(classTable!)),
            ConditionClassKind.Timestep => classEmbedding!.Record(g, Sinusoid(g, classes, config.BlockOutChannels[0])),
            ConditionClassKind.Projection => classEmbedding!.Record(g, g.Cast(classes, DType.F32)),
            ConditionClassKind.SimpleProjection => classProjection!.Record(g, g.Cast(classes, DType.F32)),
            _ => g.Cast(classes, DType.F32),
        };
    }

    // The pooled text beside a sinusoid of each size (Podell et al. 2023).
    private Value Added(Graph g, UNetConditions c)
    {
        if (c.TextEmbeds is not { } text || c.TimeIds is not { } ids) throw new InvalidOperationException("this network needs a pooled text and sizes");
        long n = ids.Shape[0], each = ids.Shape[1];
        var sizes = g.Reshape(Sinusoid(g, g.Reshape(ids, n * each), config.AdditionTimeChannels), n, each * config.AdditionTimeChannels);
        return addEmbedding!.Record(g, g.Concat(1, g.Cast(text, DType.F32), sizes));
    }
}
