using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The fields of a T2IAdapter's config.json, checked.</summary>
/// <param name="Halves">Whether a level halves the map before its blocks.</param>
public sealed record T2IAdapterConfig(int InChannels, int[] Channels, bool[] Halves, int ResBlocks, int Downscale)
{
    private const int MaximumChannels = 1 << 16;

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, or not supported.</exception>
    public static T2IAdapterConfig Read(ConfigFile f)
    {
        int[] channels = f.GetOptionalInts("channels", 1, MaximumChannels) ?? [320, 640, 1280, 1280];
        bool large = f.GetWord("adapter_type", "full_adapter", "full_adapter", "full_adapter_xl") == "full_adapter_xl";
        if (channels.Length is 0 or > 12) throw new ModelFileException(f.Path, "channels", $"expected 1 to 12 widths, found {channels.Length}");
        // The adapter of SDXL keeps the resolution of its second level and of its fourth.
        bool[] halves = [.. Enumerable.Range(0, channels.Length).Select(i => large ? i == 2 : i > 0)];
        return new(f.GetInt("in_channels", 3, 1, MaximumChannels), channels, halves, f.GetInt("num_res_blocks", 2, 1, 64), f.GetInt("downscale_factor", large ? 16 : 8, 1, 64));
    }
}

/// <summary>
/// A small network that turns a hint into maps to be added to a U-Net's way down (Mou et al. 2023).
/// <code>
/// hint --pixels to channels--conv_in--body.0--body.1--...
///                                       +--> y0  +--> y1
/// </code>
/// hint: [N, H, W, InChannels], y_i: [N, H/d, W/d, Channels[i]].
/// </summary>
public sealed class T2IAdapter : INetwork
{
    private readonly T2IAdapterConfig config;
    private readonly Conv convIn;
    private readonly List<Block> blocks = [];

    public T2IAdapter(WeightScope w, T2IAdapterConfig config)
    {
        this.config = config;
        w = w.At("adapter");
        convIn = new(w.At("conv_in"), config.InChannels * config.Downscale * config.Downscale, config.Channels[0], 3);
        for (int i = 0; i < config.Channels.Length; i++)
            blocks.Add(new(w.At($"body.{i}"), config.Channels[Math.Max(i - 1, 0)], config.Channels[i], config.ResBlocks, config.Halves[i]));
    }

    public T2IAdapterConfig Config => config;

    public void Record(NetworkIO io)
    {
        var x = io.Map("x", config.InChannels, Rate.Request);
        int d = config.Downscale;
        if (x.Shape[1] % d != 0 || x.Shape[2] % d != 0 || x.Shape.Count == 0) throw io.Problem("x", $"expected height and width in multiples of {d}, found {x.Shape[1]} and {x.Shape[2]}");
        var features = Record(io.Graph, x);
        for (int i = 0; i < features.Count; i++) io.OutputMap($"feature{i}", features[i]);
    }

    /// <param name="x">[N, H, W, InChannels], H and W multiples of Downscale.</param>
    public IReadOnlyList<Value> Record(Graph g, Value x)
    {
        long n = x.Shape[0], d = config.Downscale, height = x.Shape[1] / d, width = x.Shape[2] / d, c = x.Shape[3];
        var h = g.Transpose(g.Reshape(x, n, height, d, width, d, c), 0, 1, 3, 5, 2, 4);
        h = convIn.Record(g, g.Reshape(h, n, height, width, c * d * d));
        var features = new List<Value>();
        for (int i = 0; i < blocks.Count; i++)
        {
            using (g.Layer($"body.{i}")) features.Add(h = blocks[i].Record(g, h));
        }

        return features;
    }

    private sealed class Block
    {
        private readonly bool halves;
        private readonly Conv? convIn;
        private readonly List<(Conv First, Conv Second)> resnets = [];

        public Block(WeightScope w, int inputs, int outputs, int count, bool halves)
        {
            this.halves = halves;
            if (inputs != outputs) convIn = new(w.At("in_conv"), inputs, outputs, 1);
            for (int i = 0; i < count; i++) resnets.Add((new(w.At($"resnets.{i}.block1"), outputs, outputs, 3), new(w.At($"resnets.{i}.block2"), outputs, outputs, 1)));
        }

        public Value Record(Graph g, Value x)
        {
            if (halves) x = g.Add(new AveragePoolOp(2, 2, 2, 2, Ceiling: true), x);
            if (convIn is not null) x = convIn.Record(g, x);
            foreach (var (first, second) in resnets) x = g.Plus(second.Record(g, g.Unary(Unary.Relu, first.Record(g, x))), x);
            return x;
        }
    }
}
