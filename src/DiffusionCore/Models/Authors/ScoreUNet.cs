using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// NCSN++ and DDPM++ of yang-song/score_sde (Song et al. 2021).
/// <code>
/// t --Fourier of ln t, or sinusoid--Linear.act.Linear--> temb
/// x --[2x - 1]--conv--blocks down--block.attention.block--blocks up--norm.act.conv--[/ sigma]--> y
///       +--[input pyramid at each level]         [output pyramid at each level]
/// </code>
/// x, y: [N, H, W, Channels]; H and W are multiples of SizeMultiple. Weight names are all_modules.K, numbered in the order in which they are used.
/// </summary>
public sealed class ScoreUNet : INetwork
{
    private readonly ScoreConfig config;
    private readonly WeightRef? fourier;
    private readonly WeightRef? sigmas;
    private readonly Linear? time0;
    private readonly Linear? time1;
    private readonly Conv convIn;
    private readonly List<Level> down = [];
    private readonly ScoreBlock middleFirst;
    private readonly ScoreAttention middleAttention;
    private readonly ScoreBlock middleLast;
    private readonly List<Level> up = [];
    private readonly Norm? normOut;
    private readonly Conv? convOut;

    public ScoreUNet(WeightScope w, ScoreConfig config)
    {
        this.config = config;
        int next = 0, features = config.Features, time = 4 * features, last = config.Widths.Length - 1;
        if (config.DivideBySigma && !config.Fourier) sigmas = w.Tensor("sigmas", new Shape(config.Scales));
        else w.Ignore("sigmas");
        if (config.Fourier) fourier = Next().Tensor("W", new Shape(features));
        if (config.Conditional)
        {
            time0 = new(Next(), config.Fourier ? 2 * features : features, time);
            time1 = new(Next(), time, time);
        }

        convIn = new(Next(), config.Channels, features, 3);
        int channels = features, side = config.Channels;
        var skips = new Stack<int>([channels]);
        for (int i = 0; i <= last; i++)
        {
            var level = new Level();
            down.Add(level);
            for (int j = 0; j < config.ResBlocks; j++)
            {
                level.Blocks.Add(new(Next(), config, channels, config.Widths[i]));
                channels = config.Widths[i];
                if (Attends(i)) level.Attentions.Add(new(Next(), config, channels));
                skips.Push(channels);
            }

            if (i == last) break;
            level.Resample = new(Next(), config, channels, channels, BlockResample.Down);
            if (config.Input == ScorePyramid.Skip)
            {
                level.Side = new(Next().At("Conv_0"), side, channels, 1);
                if (!config.CombineBySum) channels *= 2;
            }
            else if (config.Input == ScorePyramid.Residual)
            {
                level.Side = new(Next().At(config.Filter is null ? "Conv_0" : "Conv2d_0"), side, channels, 3, stride: 2, padding: 0);
                side = channels;
            }

            skips.Push(channels);
        }

        middleFirst = new(Next(), config, channels, channels);
        middleAttention = new(Next(), config, channels);
        middleLast = new(Next(), config, channels, channels);
        for (int i = last; i >= 0; i--)
        {
            var level = new Level();
            up.Add(level);
            for (int j = 0; j <= config.ResBlocks; j++)
            {
                level.Blocks.Add(new(Next(), config, channels + skips.Pop(), config.Widths[i]));
                channels = config.Widths[i];
            }

            if (Attends(i)) level.Attentions.Add(new(Next(), config, channels));
            if (config.OutputSkip)
            {
                level.SideNorm = ScoreLayers.NormOf(Next(), channels);
                level.Side = new(Next(), channels, config.Channels, 3);
            }

            if (i > 0) level.Resample = new(Next(), config, channels, channels, BlockResample.Up);
        }

        if (config.OutputSkip) return;
        normOut = ScoreLayers.NormOf(Next(), channels);
        convOut = new(Next(), channels, config.Channels, 3);

        WeightScope Next() => w.At($"all_modules.{next++}");
    }

    public ScoreConfig Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.Widths.Length - 1);

    public void Record(NetworkIO io)
    {
        var x = OpenAiUNet.DeclareImage(io, "x", config.Channels, SizeMultiple);
        io.OutputMap("out", Record(io.Graph, x, io.Times("time_cond", x.Shape[0])));
    }

    /// <param name="x">[N, H, W, Channels].</param>
    /// <param name="t">[N] or [1]: the noise level (Fourier), or the step of the schedule.</param>
    /// <returns>[N, H, W, Channels].</returns>
    public Value Record(Graph g, Value x, Value t)
    {
        Value? emb = RecordTime(g, t, x.Shape[0]);
        if (!config.Centered) x = g.Affine(x, 2, -1);
        Value image = x, h;
        using (g.Layer("conv_in")) h = convIn.Record(g, x);
        var skips = new UNetSkips(g, h);
        for (int i = 0; i < down.Count; i++)
        {
            using (g.Layer($"down.{i}")) h = RecordDown(g, down[i], h, emb, skips, ref image);
        }

        if (!skips.Complete) using (g.Layer("middle")) h = middleLast.Record(g, middleAttention.Record(g, middleFirst.Record(g, h, emb)), emb);
        Value? built = null;
        h = skips.Turn(h);
        for (int i = 0; i < up.Count; i++)
        {
            using var layer = g.Layer($"up.{i}");
            foreach (var block in up[i].Blocks)
                if (!skips.Leaves()) h = block.Record(g, skips.Join(h, ref built), emb);
            if (skips.Pending) continue;
            foreach (var attention in up[i].Attentions) h = attention.Record(g, h);
            if (up[i].Side is { } side)
            {
                var part = side.Record(g, g.Silu(up[i].SideNorm!.Record(g, h)));
                built = built is { } coarser ? g.Plus(part, config.Up(g, coarser)) : part;
            }

            if (up[i].Resample is { } resample) h = resample.Record(g, h, emb);
        }

        using (g.Layer("out")) h = built ?? convOut!.Record(g, g.Silu(normOut!.Record(g, h)));
        return config.DivideBySigma ? g.Binary(Binary.Div, h, g.Reshape(Sigma(g, t), t.Shape[0], 1, 1, 1)) : h;
    }

    private bool Attends(int level) => config.AttentionAt.Contains(config.ImageSize >> level);

    private Value RecordDown(Graph g, Level level, Value h, Value? emb, UNetSkips skips, ref Value image)
    {
        for (int j = 0; j < level.Blocks.Count; j++)
        {
            if (skips.Complete) return h;
            h = level.Blocks[j].Record(g, h, emb);
            if (level.Attentions.Count > 0) h = level.Attentions[j].Record(g, h);
            skips.Push(h);
        }

        if (level.Resample is null || skips.Complete) return h;
        h = level.Resample.Record(g, h, emb);
        if (config.Input == ScorePyramid.Skip)
        {
            image = config.Down(g, image);
            var side = level.Side!.Record(g, image);
            h = config.CombineBySum ? g.Plus(side, h) : g.Concat(3, side, h);
        }
        else if (config.Input == ScorePyramid.Residual)
        {
            // The filter leaves room for the convolution; without a filter there is a border on the far sides.
            image = config.Filter is { } taps ? level.Side!.Record(g, new FirFilter(taps).Blur(g, image), 0, 0) : level.Side!.Record(g, image, 0, 1);
            h = image = config.Sum(g, image, h);
        }

        skips.Push(h);
        return h;
    }

    // act(temb) for each image.
    private Value? RecordTime(Graph g, Value t, long images)
    {
        if (time0 is null || time1 is null) return null;
        using var layer = g.Layer("time");
        var time = g.Cast(t, DType.F32);
        var emb = fourier is not null
            ? g.Add(new FourierEmbeddingOp(Log: true, Flip: false), time, g.Weight(fourier))
            : g.Add(new SinusoidalEmbeddingOp(config.Features, Flip: false, Shift: 1), time);
        emb = time1.Record(g, g.Silu(time0.Record(g, emb)));
        return g.Silu(g.Expand(emb, emb.Shape.With(0, images)));
    }

    // The noise level itself; a network for steps looks it up, largest first.
    private Value Sigma(Graph g, Value t) => sigmas is null
        ? g.Cast(t, DType.F32)
        : g.Embedding(t.DType.IsFloat() ? g.Cast(t, DType.I64) : t, g.Reshape(g.Weight(sigmas), config.Scales, 1));

    private sealed class Level
    {
        public List<ScoreBlock> Blocks { get; } = [];

        public List<ScoreAttention> Attentions { get; } = [];

        public ScoreBlock? Resample { get; set; }

        public Conv? Side { get; set; }

        public Norm? SideNorm { get; set; }
    }
}
