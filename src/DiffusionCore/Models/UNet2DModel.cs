using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The unconditional and class-conditional U-Net of DDPM and of the score models, as diffusers' UNet2DModel configures it.
/// <code>
/// t --time_proj--time_embedding--(+ class_embedding)--> emb (read by every residual block)
/// x --conv_in--down_blocks--mid_block--up_blocks--conv_norm_out.act--conv_out--(+ skip image)--(/ t)--> y
///              +--------- skips -------+
/// </code>
/// x, y: [N, H, W, C]; the skip image and the division by t belong to the score networks with skip blocks and Fourier features.
/// </summary>
public sealed class UNet2DModel : INetwork
{
    private const int SkipBlockGroups = 32;

    private readonly UNet2DConfig config;
    private readonly Conv convIn;
    private readonly WeightRef? fourier;
    private readonly WeightRef? learnedTimes;
    private readonly TimestepEmbedding timeEmbedding;
    private readonly WeightRef? classTable;
    private readonly TimestepEmbedding? classEmbedding;
    private readonly List<DownBlock> down = [];
    private readonly List<UpBlock> up = [];
    private readonly ResnetBlock? middleFirst;
    private readonly SpatialAttention? middleAttention;
    private readonly ResnetBlock? middleLast;
    private readonly Norm normOut;
    private readonly Conv convOut;

    public UNet2DModel(WeightScope w, UNet2DConfig config)
    {
        this.config = config;
        int[] widths = config.BlockOutChannels;
        int time = config.TimeEmbeddingDim ?? widths[0] * 4;
        int timeInput = config.TimeEmbedding == TimeEmbeddingKind.Fourier ? 2 * widths[0] : widths[0];
        convIn = new(w.At("conv_in"), config.InChannels, widths[0], 3);
        if (config.TimeEmbedding == TimeEmbeddingKind.Fourier) fourier = w.Tensor("time_proj.weight", new Shape(widths[0]));
        if (config.TimeEmbedding == TimeEmbeddingKind.Learned) learnedTimes = w.Tensor("time_proj.weight", new Shape(config.NumTrainTimesteps!.Value, widths[0]));
        timeEmbedding = new(w.At("time_embedding"), timeInput, time);
        if (config.ClassEmbedding == ClassEmbeddingKind.Table) classTable = w.Tensor("class_embedding.weight", new Shape(config.NumClassEmbeds!.Value, time));
        if (config.ClassEmbedding == ClassEmbeddingKind.Timestep) classEmbedding = new(w.At("class_embedding"), timeInput, time);

        int output = widths[0];
        for (int i = 0; i < widths.Length; i++)
        {
            int input = output;
            output = widths[i];
            down.Add(new DownBlock(w.At($"down_blocks.{i}"), this, config.DownBlocks[i], input, output, time, last: i == widths.Length - 1));
        }

        if (config.MidBlock)
        {
            var mid = w.At("mid_block");
            var resnet = Resnet(widths[^1], widths[^1], time) with { OutputScale = config.MidBlockScaleFactor };
            middleFirst = new(mid.At("resnets.0"), resnet);
            if (config.AddAttention)
            {
                middleAttention = new(
                    mid.At("attentions.0"), widths[^1], config.AttentionHeadDim ?? widths[^1],
                    // diffusers leaves the norm of the middle attention out where the norms are scaled and shifted.
                    config.AttentionGroups ?? (config.ScaleShift ? null : config.NormGroups), config.NormEpsilon, config.MidBlockScaleFactor);
            }

            middleLast = new(mid.At("resnets.1"), resnet);
        }

        output = widths[^1];
        for (int i = 0; i < widths.Length; i++)
        {
            int previous = output;
            output = widths[^(i + 1)];
            int input = widths[^Math.Min(i + 2, widths.Length)];
            up.Add(new UpBlock(w.At($"up_blocks.{i}"), this, config.UpBlocks[i], input, output, previous, time, last: i == widths.Length - 1));
        }

        normOut = new(w.At("conv_norm_out"), widths[0], config.NormGroups, config.NormEpsilon);
        convOut = new(w.At("conv_out"), widths[0], config.OutChannels, 3);
    }

    public UNet2DConfig Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.BlockOutChannels.Length - 1);

    public void Record(NetworkIO io)
    {
        var x = io.Map("sample", config.InChannels);
        if (x.Shape[0] < 1 || x.Shape[1] < 1 || x.Shape[2] < 1 || x.Shape[1] % SizeMultiple != 0 || x.Shape[2] % SizeMultiple != 0)
            throw io.Problem("sample", $"expected height and width in multiples of {SizeMultiple}, found {x.Shape[1]} and {x.Shape[2]}");
        bool takesClasses = config.ClassEmbedding != ClassEmbeddingKind.None;
        if (!takesClasses && io.Has("class_labels")) throw io.Problem("class_labels", "is given, but this network takes no classes");
        io.OutputMap("sample", Record(io.Graph, x, io.Times("timestep", x.Shape[0]), takesClasses ? io.Input("class_labels") : null));
    }

    /// <summary>Records one evaluation.</summary>
    /// <param name="x">[N, H, W, InChannels].</param>
    /// <param name="t">[N] or [1]: the time, as a number (F32) or a step (I32, I64).</param>
    /// <param name="classes">[N] class numbers; null where the network has none.</param>
    /// <returns>[N, H, W, OutChannels].</returns>
    public Value Record(Graph g, Value x, Value t, Value? classes = null)
    {
        long n = x.Shape[0];
        if (config.CenterInput) x = g.Affine(x, 2, -1);
        Value emb;
        using (g.Layer("time_embedding"))
        {
            emb = timeEmbedding.Record(g, TimeProjection(g, t));
            if (classes is { } labels) emb = g.Plus(emb, ClassVector(g, labels));
            if (emb.Shape[0] != n) emb = g.Expand(emb, emb.Shape.With(0, n));
            emb = g.Unary(config.Activation, emb);
        }

        Value? image = x;                                   // what the skip blocks carry along at full fidelity
        Value h;
        using (g.Layer("conv_in")) h = convIn.Record(g, x);
        var skips = new UNetSkips(g, h);
        for (int i = 0; i < down.Count; i++)
        {
            using (g.Layer($"down_blocks.{i}")) h = down[i].Record(g, h, emb, skips, ref image);
        }

        using (g.Layer("mid_block"))
        {
            if (middleFirst is not null && middleLast is not null && !skips.Complete)
            {
                h = middleFirst.Record(g, h, emb);
                if (middleAttention is not null) h = middleAttention.Record(g, h);
                h = middleLast.Record(g, h, emb);
            }
        }

        image = null;
        h = skips.Turn(h);
        for (int i = 0; i < up.Count; i++)
        {
            using (g.Layer($"up_blocks.{i}")) h = up[i].Record(g, h, emb, skips, ref image);
        }

        using (g.Layer("conv_out")) h = convOut.Record(g, g.Unary(config.Activation, normOut.Record(g, h)));
        if (image is { } residual) h = g.Plus(h, residual);
        if (config.TimeEmbedding == TimeEmbeddingKind.Fourier) h = g.Binary(Binary.Div, h, g.Reshape(g.Cast(t, DType.F32), t.Shape[0], 1, 1, 1));
        return h;
    }

    private Value TimeProjection(Graph g, Value t) => config.TimeEmbedding switch
    {
        TimeEmbeddingKind.Fourier => g.Add(new FourierEmbeddingOp(Log: true, Flip: false), g.Cast(t, DType.F32), g.Weight(fourier!)),
        TimeEmbeddingKind.Learned => g.Embedding(t.DType.IsFloat() ? g.Cast(t, DType.I64) : t, g.Weight(learnedTimes!)),
        _ => g.Add(new SinusoidalEmbeddingOp(config.BlockOutChannels[0], config.FlipSinToCos, config.FrequencyShift), g.Cast(t, DType.F32)),
    };

    private Value ClassVector(Graph g, Value labels) => config.ClassEmbedding switch
    {
        ClassEmbeddingKind.Table => g.Embedding(labels, g.Weight(classTable!)),
        ClassEmbeddingKind.Timestep => classEmbedding!.Record(g, TimeProjection(g, labels)),
        ClassEmbeddingKind.Identity => labels,
        _ => throw new InvalidOperationException("this network takes no classes"),
    };

    private ResnetOptions Resnet(int inputs, int outputs, int time) =>
        new(inputs, outputs, config.NormGroups, config.NormGroups, config.NormEpsilon, time, config.ScaleShift, Activation: config.Activation);

    // The skip blocks size their groups by their channels and scale every sum by sqrt(2).
    private ResnetOptions SkipResnet(int inputs, int outputs, int time) => Resnet(inputs, outputs, time) with
    {
        Groups = Math.Min(inputs / 4, SkipBlockGroups),
        GroupsOut = Math.Min(outputs / 4, SkipBlockGroups),
        OutputScale = Math.Sqrt(2),
    };

    private SpatialAttention Attention(WeightScope w, int channels, bool skip) => new(
        w, channels, config.AttentionHeadDim ?? channels, skip ? SkipBlockGroups : config.NormGroups, config.NormEpsilon, skip ? Math.Sqrt(2) : 1);

    private sealed class DownBlock
    {
        private readonly UNet2DConfig config;
        private readonly List<ResnetBlock> resnets = [];
        private readonly List<SpatialAttention> attentions = [];
        private readonly Conv? downsampler;
        private readonly ResnetBlock? resnetDown;
        private readonly Conv? skipConv;

        public DownBlock(WeightScope w, UNet2DModel model, BlockKind kind, int input, int output, int time, bool last)
        {
            config = model.config;
            for (int j = 0; j < config.LayersPerBlock; j++)
            {
                int from = j == 0 ? input : output;
                resnets.Add(new(w.At($"resnets.{j}"), kind.Skip ? model.SkipResnet(from, output, time) : model.Resnet(from, output, time)));
                if (kind.Attention) attentions.Add(model.Attention(w.At($"attentions.{j}"), output, kind.Skip));
            }

            if (last) return;
            if (kind.Skip)
            {
                resnetDown = new(w.At("resnet_down"), model.SkipResnet(output, output, time) with { Resample = BlockResample.FirDown, Shortcut = true });
                skipConv = new(w.At("skip_conv"), 3, output, 1);
            }
            else if (kind.ResnetResample || (kind.Attention && config.ResnetDownsample))
            {
                resnetDown = new(w.At("downsamplers.0"), model.Resnet(output, output, time) with { Resample = BlockResample.Down });
            }
            else
            {
                downsampler = new(w.At("downsamplers.0.conv"), output, output, 3, stride: 2);
            }
        }

        public Value Record(Graph g, Value h, Value emb, UNetSkips skips, ref Value? image)
        {
            for (int j = 0; j < resnets.Count; j++)
            {
                if (skips.Complete) return h;
                using (g.Layer($"resnets.{j}")) h = resnets[j].Record(g, h, emb);
                if (attentions.Count > 0)
                {
                    using (g.Layer($"attentions.{j}")) h = attentions[j].Record(g, h);
                }

                skips.Push(h);
            }

            if (skips.Complete) return h;
            using (g.Layer("downsamplers.0"))
            {
                if (downsampler is not null)
                {
                    int p = config.DownsamplePadding;
                    h = p == 0 ? downsampler.Record(g, h, 0, 1) : downsampler.Record(g, h, p, p);
                }
                else if (resnetDown is not null)
                {
                    h = resnetDown.Record(g, h, emb);
                    if (skipConv is not null)
                    {
                        image = Resampling.FirDown2x(g, image!.Value);
                        h = g.Plus(skipConv.Record(g, image.Value), h);
                    }
                }
                else
                {
                    return h;
                }
            }

            skips.Push(h);
            return h;
        }
    }

    private sealed class UpBlock
    {
        private readonly BlockKind kind;
        private readonly UNet2DConfig config;
        private readonly List<ResnetBlock> resnets = [];
        private readonly List<SpatialAttention> attentions = [];
        private readonly Conv? upsampler;
        private readonly ResnetBlock? resnetUp;
        private readonly Conv? skipConv;
        private readonly Norm? skipNorm;

        public UpBlock(WeightScope w, UNet2DModel model, BlockKind kind, int input, int output, int previous, int time, bool last)
        {
            this.kind = kind;
            config = model.config;
            int layers = config.LayersPerBlock + 1;
            for (int j = 0; j < layers; j++)
            {
                int from = (j == 0 ? previous : output) + (j == layers - 1 ? input : output);
                var options = kind.Skip ? model.SkipResnet(from, output, time) : model.Resnet(from, output, time);
                // diffusers divides only the skip's channels by four here, and published weights are trained with it.
                if (kind.Skip && kind.Attention) options = options with { Groups = Math.Min((j == 0 ? previous : output) + (j == layers - 1 ? input : output) / 4, SkipBlockGroups) };
                resnets.Add(new(w.At($"resnets.{j}"), options));
                if (kind.Attention && (!kind.Skip || j == 0)) attentions.Add(model.Attention(w.At($"attentions.{j}"), output, kind.Skip));
            }

            if (last) return;
            if (kind.Skip)
            {
                resnetUp = new(w.At("resnet_up"), model.SkipResnet(output, output, time) with { Resample = BlockResample.FirUp, Shortcut = true });
                skipConv = new(w.At("skip_conv"), output, 3, 3);
                skipNorm = new(w.At("skip_norm"), output, Math.Min(output / 4, SkipBlockGroups), config.NormEpsilon);
            }
            else if (kind.ResnetResample || (kind.Attention && config.ResnetUpsample))
            {
                resnetUp = new(w.At("upsamplers.0"), model.Resnet(output, output, time) with { Resample = BlockResample.Up });
            }
            else
            {
                upsampler = new(w.At("upsamplers.0.conv"), output, output, 3);
            }
        }

        public Value Record(Graph g, Value h, Value emb, UNetSkips skips, ref Value? image)
        {
            for (int j = 0; j < resnets.Count; j++)
            {
                if (skips.Leaves()) continue;
                using (g.Layer($"resnets.{j}")) h = resnets[j].Record(g, skips.Join(h, ref image), emb);
                if (attentions.Count > 0 && !kind.Skip)
                {
                    using (g.Layer($"attentions.{j}")) h = attentions[j].Record(g, h);
                }
            }

            if (skips.Pending) return h;
            if (kind.Skip)
            {
                if (attentions.Count > 0)
                {
                    using (g.Layer("attentions.0")) h = attentions[0].Record(g, h);
                }

                if (image is { } carried) image = Resampling.FirUp2x(g, carried);
                if (skipConv is not null && skipNorm is not null)
                {
                    using (g.Layer("skip_conv"))
                    {
                        var contribution = skipConv.Record(g, g.Silu(skipNorm.Record(g, h)));
                        image = image is { } sum ? g.Plus(sum, contribution) : contribution;
                    }
                }
            }

            using (g.Layer("upsamplers.0"))
            {
                if (upsampler is not null) h = upsampler.Record(g, Resampling.Nearest2x(g, h));
                else if (resnetUp is not null) h = resnetUp.Record(g, h, emb);
            }

            return h;
        }
    }
}
