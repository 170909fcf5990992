using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>What the blocks of one level of a conditional U-Net are built from.</summary>
internal sealed record UNetConditionLevel(UNet2DConditionConfig Config, int Level, int Depth, bool Cross)
{
    public int Width => Config.BlockOutChannels[Level];

    public ResnetOptions Resnet(int inputs) => new(
        inputs, Width, Config.NormGroups, Config.NormGroups, Config.NormEpsilon, Config.BlockTimeChannels, Config.ScaleShift, Activation: Config.Activation);

    public SpatialTransformer Transformer(WeightScope w, bool onlyCross) => new(
        w, new(Width, Config.ContextChannels[Level], Config.Heads[Level], Width / Config.Heads[Level], Depth, Config.NormGroups, onlyCross));
}

/// <summary>What the blocks read beside the map: the activated time embedding, the context, and the mask of its tokens.</summary>
internal readonly record struct UNetBlockInputs(Value Time, Value? Context, Value? Mask);

/// <summary>[residual block, [spatial transformer]] x layers, [stride-2 convolution]. Every result is a skip.</summary>
internal sealed class UNetConditionDownBlock
{
    private readonly UNet2DConditionConfig config;
    private readonly List<ResnetBlock> resnets = [];
    private readonly List<SpatialTransformer> transformers = [];
    private readonly Conv? downsampler;

    public UNetConditionDownBlock(WeightScope w, UNetConditionLevel level, int inputs, bool last)
    {
        config = level.Config;
        for (int j = 0; j < config.LayersPerBlock[level.Level]; j++)
        {
            resnets.Add(new(w.At($"resnets.{j}"), level.Resnet(j == 0 ? inputs : level.Width)));
            if (level.Cross) transformers.Add(level.Transformer(w.At($"attentions.{j}"), config.OnlyCross[level.Level]));
        }

        if (!last) downsampler = new(w.At("downsamplers.0.conv"), level.Width, level.Width, 3, stride: 2);
    }

    /// <param name="wanted">Skips that are read: at as many the way down ends.</param>
    /// <param name="adapter">Added to the block's map, before the resolution changes where the block attends and after it where not, as the peers do.</param>
    public Value Record(Graph g, Value h, UNetBlockInputs inputs, List<Value> skips, Value? adapter, int wanted)
    {
        for (int j = 0; j < resnets.Count; j++)
        {
            if (skips.Count >= wanted) return h;
            using (g.Layer($"resnets.{j}")) h = resnets[j].Record(g, h, inputs.Time);
            if (transformers.Count > 0)
            {
                using (g.Layer($"attentions.{j}")) h = transformers[j].Record(g, h, inputs.Context, inputs.Mask);
                if (adapter is { } feature && j == resnets.Count - 1) h = g.Plus(h, feature);
            }

            skips.Add(h);
        }

        if (downsampler is not null && skips.Count < wanted)
        {
            int p = config.DownsamplePadding;
            using (g.Layer("downsamplers.0")) h = p == 0 ? downsampler.Record(g, h, 0, 1) : downsampler.Record(g, h, p, p);
            skips.Add(h);
        }

        if (adapter is { } late && transformers.Count == 0) skips[^1] = h = g.Plus(h, late);
        return h;
    }
}

/// <summary>Residual block, [spatial transformer, residual block].</summary>
internal sealed class UNetConditionMiddleBlock
{
    private readonly ResnetBlock first;
    private readonly SpatialTransformer? transformer;
    private readonly ResnetBlock? last;

    public UNetConditionMiddleBlock(WeightScope w, UNetConditionLevel level)
    {
        var resnet = level.Resnet(level.Width) with { OutputScale = level.Config.MidBlockScaleFactor };
        first = new(w.At("resnets.0"), resnet);
        if (!level.Cross) return;
        transformer = level.Transformer(w.At("attentions.0"), level.Config.MiddleOnlyCross);
        last = new(w.At("resnets.1"), resnet);
    }

    public Value Record(Graph g, Value h, UNetBlockInputs inputs)
    {
        using (g.Layer("resnets.0")) h = first.Record(g, h, inputs.Time);
        if (transformer is null || last is null) return h;
        using (g.Layer("attentions.0")) h = transformer.Record(g, h, inputs.Context, inputs.Mask);
        using (g.Layer("resnets.1")) return last.Record(g, h, inputs.Time);
    }
}

/// <summary>[residual block on the map beside a skip, [spatial transformer]] x layers, [resize to the next skip, convolution].</summary>
internal sealed class UNetConditionUpBlock
{
    private readonly List<ResnetBlock> resnets = [];
    private readonly List<SpatialTransformer> transformers = [];
    private readonly Conv? upsampler;

    /// <param name="previous">Channels that come from the coarser level.</param>
    /// <param name="next">Channels of the finer level, whose last skip this one reads.</param>
    public UNetConditionUpBlock(WeightScope w, UNetConditionLevel level, int previous, int next, bool last)
    {
        var config = level.Config;
        int layers = config.LayersPerBlock[level.Level] + 1;
        for (int j = 0; j < layers; j++)
        {
            resnets.Add(new(w.At($"resnets.{j}"), level.Resnet((j == 0 ? previous : level.Width) + (j == layers - 1 ? next : level.Width))));
            if (level.Cross) transformers.Add(level.Transformer(w.At($"attentions.{j}"), config.OnlyCross[level.Level]));
        }

        if (!last) upsampler = new(w.At("upsamplers.0.conv"), level.Width, level.Width, 3);
    }

    public Value Record(Graph g, Value h, UNetBlockInputs inputs, UNetSkips skips)
    {
        for (int j = 0; j < resnets.Count; j++)
        {
            if (skips.Leaves()) continue;
            using (g.Layer($"resnets.{j}")) h = resnets[j].Record(g, skips.Join(h), inputs.Time);
            if (transformers.Count > 0)
            {
                using (g.Layer($"attentions.{j}")) h = transformers[j].Record(g, h, inputs.Context, inputs.Mask);
            }
        }

        if (upsampler is null || skips.Pending) return h;
        var size = skips.Next.Shape;                        // twice the map, or one less where an odd extent was halved
        using (g.Layer("upsamplers.0")) return upsampler.Record(g, g.UpsampleNearest(h, checked((int)size[1]), checked((int)size[2])));
    }
}
