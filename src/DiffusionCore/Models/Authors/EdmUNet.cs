using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The networks of NVlabs/edm (Karras et al. 2022): SongUNet and DhariwalUNet.
/// <code>
/// c_noise --map_noise--(+ map_label, map_augment)--map_layer0--map_layer1--> emb     (Dhariwal: the class joins after map_layer1)
/// x --enc--dec--norm--conv--> y;  with skip or residual sides the image itself is carried along and mixed in at every level
/// </code>
/// x: [N, H, W, ImageChannels], y: [N, H, W, OutChannels]; H and W are multiples of SizeMultiple.
/// </summary>
public sealed class EdmUNet
{
    private readonly EdmConfig config;
    private readonly FirFilter filter;
    private readonly WeightRef? frequencies;
    private readonly Linear? mapLabel;
    private readonly Linear? mapAugment;
    private readonly Linear mapLayer0;
    private readonly Linear mapLayer1;
    private readonly Conv convIn;
    private readonly List<Stage> encoder = [];
    private readonly List<Stage> decoder = [];

    public EdmUNet(WeightScope w, EdmConfig config)
    {
        this.config = config;
        filter = new(config.Filter);
        int noise = config.NoiseChannels, embedding = config.EmbeddingChannels;
        if (config.Fourier) frequencies = w.Tensor("map_noise.freqs", new Shape(noise / 2));
        if (config.LabelChannels > 0) mapLabel = new(w.At("map_label"), config.LabelChannels, config.Song ? noise : embedding, bias: config.Song);
        if (config.AugmentChannels > 0) mapAugment = new(w.At("map_augment"), config.AugmentChannels, noise, bias: false);
        mapLayer0 = new(w.At("map_layer0"), noise, embedding);
        mapLayer1 = new(w.At("map_layer1"), embedding, embedding);
        // The score networks' first convolution has the base width, the other's that of its first level.
        int stem = config.Song ? config.ModelChannels : config.Widths[0];
        convIn = new(w.At($"enc.{Name(0)}_conv"), config.ImageChannels, stem, 3);
        var skips = new Stack<int>([stem]);
        BuildEncoder(w.At("enc"), stem, skips);
        BuildDecoder(w, w.At("dec"), skips);
    }

    public EdmConfig Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.Widths.Length - 1);

    /// <param name="x">[N, H, W, ImageChannels], scaled.</param>
    /// <param name="noise">[N]: the noise level as the network knows it.</param>
    /// <param name="labels">[N, LabelChannels]; null for the vector of zeros.</param>
    /// <param name="augment">[N, AugmentChannels]; null for none.</param>
    /// <returns>[N, H, W, OutChannels].</returns>
    public Value Record(Graph g, Value x, Value noise, Value? labels, Value? augment)
    {
        var emb = Embedding(g, noise, labels, augment);
        emb = g.Expand(emb, emb.Shape.With(0, x.Shape[0]));
        Value h, image = x;
        using (g.Layer("conv")) h = convIn.Record(g, x);
        var skips = new Stack<Value>([h]);
        foreach (var stage in encoder)
        {
            using var layer = g.Layer("enc." + stage.Name);
            if (stage.Block is { } block)
            {
                skips.Push(h = block.Record(g, h, emb));
                continue;
            }

            skips.Pop();
            if (config.Encoder == EdmSide.Skip)
            {
                image = filter.Down(g, image);
                h = g.Plus(stage.Conv!.Record(g, image), h);
            }
            else
            {
                // The convolution keeps the filter's border, which the filter then uses up.
                int border = 1 + (config.Filter.Length - 1) / 2;
                h = image = g.Affine(g.Plus(filter.DownInside(g, stage.Conv!.Record(g, image, border, border)), h), Math.Sqrt(0.5));
            }

            skips.Push(h);
        }

        Value? y = null;
        foreach (var stage in decoder)
        {
            using var layer = g.Layer("dec." + stage.Name);
            if (stage.Block is { } block)
            {
                if (block.Inputs != h.Shape[3]) h = g.Concat(3, h, skips.Pop());
                h = block.Record(g, h, emb);
                continue;
            }

            var head = stage.Conv!.Record(g, g.Silu(stage.Norm!.Record(g, h)));
            y = y is { } coarser ? g.Plus(head, filter.Up(g, coarser)) : head;
        }

        return y!.Value;
    }

    private string Name(int level) => $"{config.Resolution >> level}x{config.Resolution >> level}";

    private bool Attends(int level) => config.AttentionAt.Contains(config.Resolution >> level);

    private void BuildEncoder(WeightScope w, int channels, Stack<int> skips)
    {
        int side = config.ImageChannels;
        for (int level = 0; level < config.Widths.Length; level++)
        {
            string name = Name(level);
            if (level > 0)
            {
                encoder.Add(new($"{name}_down", new EdmBlock(w.At($"{name}_down"), config, channels, channels, resample: BlockResample.FirDown)));
                skips.Push(channels);
                if (config.Encoder == EdmSide.Skip)
                {
                    w.Ignore($"{name}_aux_down.resample_filter");
                    encoder.Add(new($"{name}_aux_skip", null, null, new(w.At($"{name}_aux_skip"), side, channels, 1)));
                }
                else if (config.Encoder == EdmSide.Residual)
                {
                    w.Ignore($"{name}_aux_residual.resample_filter");
                    encoder.Add(new($"{name}_aux_residual", null, null, new(w.At($"{name}_aux_residual"), side, channels, 3)));
                    side = channels;
                }
            }

            for (int j = 0; j < config.Blocks; j++)
            {
                int from = channels;
                channels = config.Widths[level];
                encoder.Add(new($"{name}_block{j}", new EdmBlock(w.At($"{name}_block{j}"), config, from, channels, Attends(level))));
                skips.Push(channels);
            }
        }
    }

    private void BuildDecoder(WeightScope root, WeightScope w, Stack<int> skips)
    {
        int channels = config.Widths[^1], last = config.Widths.Length - 1;
        double epsilon = EdmBlock.Epsilon(config);
        for (int level = last; level >= 0; level--)
        {
            string name = Name(level);
            if (level == last)
            {
                decoder.Add(new($"{name}_in0", new EdmBlock(w.At($"{name}_in0"), config, channels, channels, attends: true)));
                decoder.Add(new($"{name}_in1", new EdmBlock(w.At($"{name}_in1"), config, channels, channels)));
            }
            else
            {
                decoder.Add(new($"{name}_up", new EdmBlock(w.At($"{name}_up"), config, channels, channels, resample: BlockResample.FirUp)));
            }

            for (int j = 0; j <= config.Blocks; j++)
            {
                int from = channels + skips.Pop();
                channels = config.Widths[level];
                bool attends = Attends(level) && (!config.Song || j == config.Blocks);
                decoder.Add(new($"{name}_block{j}", new EdmBlock(w.At($"{name}_block{j}"), config, from, channels, attends)));
            }

            if (!config.Song || (config.Decoder != EdmSide.Skip && level > 0)) continue;
            w.Ignore($"{name}_aux_up.resample_filter");
            decoder.Add(new($"{name}_aux", null, EdmBlock.NormOf(w.At($"{name}_aux_norm"), channels, epsilon), new(w.At($"{name}_aux_conv"), channels, config.OutChannels, 3)));
        }

        if (!config.Song) decoder.Add(new("out", null, EdmBlock.NormOf(root.At("out_norm"), channels, epsilon), new(root.At("out_conv"), channels, config.OutChannels, 3)));
    }

    private Value Embedding(Graph g, Value noise, Value? labels, Value? augment)
    {
        using var layer = g.Layer("map");
        noise = g.Cast(noise, DType.F32);
        // The score networks put sines first and let the lowest frequency be 1/10000; the other does neither.
        var emb = frequencies is not null
            ? g.Add(new FourierEmbeddingOp(Log: false, Flip: false), noise, g.Weight(frequencies))
            : g.Add(new SinusoidalEmbeddingOp(config.NoiseChannels, Flip: !config.Song, Shift: config.Song ? 1 : 0), noise);
        Value? label = null;
        if (mapLabel is not null)
        {
            var vector = labels ?? g.Constant(new float[config.LabelChannels], new Shape(1, config.LabelChannels));
            label = mapLabel.Record(g, config.Song ? g.Affine(vector, Math.Sqrt(config.LabelChannels)) : vector);
        }

        if (config.Song && label is { } early) emb = g.Plus(emb, early);
        if (mapAugment is not null && augment is { } a) emb = g.Plus(emb, mapAugment.Record(g, a));
        emb = mapLayer1.Record(g, g.Silu(mapLayer0.Record(g, emb)));
        if (!config.Song && label is { } late) emb = g.Plus(emb, late);
        return g.Silu(emb);
    }

    // A block; a side convolution of the way down; or a norm and convolution to the image.
    private sealed record Stage(string Name, EdmBlock? Block, Norm? Norm = null, Conv? Conv = null);
}
