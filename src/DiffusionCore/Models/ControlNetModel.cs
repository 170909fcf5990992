using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The fields of a ControlNetModel's config.json, checked.</summary>
/// <param name="HintReversed">Whether the hint's channels are blue, green, red.</param>
/// <param name="GlobalPool">Whether the results are averaged over their pixels.</param>
public sealed record ControlNetConfig(UNet2DConditionConfig UNet, int HintChannels, int[] HintWidths, bool HintReversed, bool GlobalPool)
{
    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static ControlNetConfig Read(ConfigFile f)
    {
        int[] widths = f.GetOptionalInts("conditioning_embedding_out_channels", 1, UNet2DConditionConfig.MaximumChannels) ?? [16, 32, 96, 256];
        if (widths.Length is 0 or > 12) throw new ModelFileException(f.Path, "conditioning_embedding_out_channels", $"expected 1 to 12 widths, found {widths.Length}");
        return new(
            UNet2DConditionConfig.ReadEncoder(f), f.GetInt("conditioning_channels", 3, 1, UNet2DConditionConfig.MaximumChannels), widths,
            f.GetWord("controlnet_conditioning_channel_order", "rgb", "rgb", "bgr") == "bgr", f.GetBool("global_pool_conditions", false));
    }
}

/// <summary>
/// A copy of a U-Net's way down that reads a hint and answers with what to add to the skips (Zhang et al. 2023).
/// <code>
/// x --conv_in--(+)--down_blocks--mid_block--controlnet_mid_block--> mid
/// hint--embedding-+      +--skips--controlnet_down_blocks--> down
/// </code>
/// x: [N, H, W, C], hint: [N, H', W', HintChannels], H' = H * HintScale. What follows from the hint alone has the hint's rate.
/// </summary>
public sealed class ControlNetModel : INetwork
{
    private readonly ControlNetConfig config;
    private readonly UNetConditionEncoder encoder;
    private readonly List<(Conv Conv, bool Activated)> hint = [];
    private readonly List<Conv> downs = [];
    private readonly Conv mid;

    public ControlNetModel(WeightScope w, ControlNetConfig config)
    {
        this.config = config;
        encoder = new(w, config.UNet);
        var embedding = w.At("controlnet_cond_embedding");
        int[] widths = config.HintWidths;
        hint.Add((new(embedding.At("conv_in"), config.HintChannels, widths[0], 3), true));
        for (int i = 0; i + 1 < widths.Length; i++)
        {
            hint.Add((new(embedding.At($"blocks.{2 * i}"), widths[i], widths[i], 3), true));
            hint.Add((new(embedding.At($"blocks.{2 * i + 1}"), widths[i], widths[i + 1], 3, stride: 2), true));
        }

        hint.Add((new(embedding.At("conv_out"), widths[^1], config.UNet.BlockOutChannels[0], 3), false));
        var sizes = encoder.MapSizes(0, 0);
        for (int i = 0; i + 1 < sizes.Count; i++) downs.Add(new(w.At($"controlnet_down_blocks.{i}"), sizes[i].Channels, sizes[i].Channels, 1));
        mid = new(w.At("controlnet_mid_block"), sizes[^1].Channels, sizes[^1].Channels, 1);
    }

    public ControlNetConfig Config => config;

    /// <summary>Pixels of the hint per pixel of the latent, along one side.</summary>
    public int HintScale => 1 << (config.HintWidths.Length - 1);

    public void Record(NetworkIO io)
    {
        var x = io.Map("sample", config.UNet.InChannels);
        var map = io.Map("controlnet_cond", config.HintChannels, Rate.Request);
        if (map.Shape[0] != x.Shape[0] || map.Shape[1] != x.Shape[1] * HintScale || map.Shape[2] != x.Shape[2] * HintScale)
            throw io.Problem("controlnet_cond", $"expected [{x.Shape[0]}, {config.HintChannels}, {x.Shape[1] * HintScale}, {x.Shape[2] * HintScale}], found [{map.Shape[0]}, {map.Shape[3]}, {map.Shape[1]}, {map.Shape[2]}]");
        var scale = io.Optional("conditioning_scale");
        if (scale is { } s && s.Shape.Count != 1) throw io.Problem("conditioning_scale", $"expected one number, found {s.Shape}");
        if (scale is { } number) scale = io.Graph.Cast(number, DType.F32);
        var c = UNetConditions.Declare(io, config.UNet, x.Shape[0]);
        var (down, middle) = Record(io.Graph, x, io.Times("timestep", x.Shape[0]), c, map, scale);
        for (int i = 0; i < down.Count; i++) io.OutputMap($"down{i}", down[i]);
        io.OutputMap("mid", middle);
    }

    /// <param name="x">[N, H, W, InChannels].</param>
    /// <param name="t">[N] or [1].</param>
    /// <param name="image">The hint: [N, H * HintScale, W * HintScale, HintChannels] in [0, 1].</param>
    /// <param name="scale">One number that multiplies every result; null: 1.</param>
    public (IReadOnlyList<Value> Down, Value Middle) Record(Graph g, Value x, Value t, UNetConditions c, Value image, Value? scale = null)
    {
        var inputs = encoder.RecordInputs(g, t, c, x.Shape[0]);
        var (h, skips) = encoder.Record(g, g.Plus(encoder.RecordIn(g, x), RecordHint(g, image)), inputs, []);
        var down = skips.Select((skip, i) =>
        {
            using (g.Layer($"controlnet_down_blocks.{i}")) return Scaled(g, downs[i].Record(g, skip), scale);
        }).ToArray();
        using (g.Layer("controlnet_mid_block")) return (down, Scaled(g, mid.Record(g, h), scale));
    }

    private Value RecordHint(Graph g, Value image)
    {
        if (config.HintReversed)
        {
            long last = image.Shape[3] - 1;
            image = g.Add(new SliceOp([0, 0, 0, last], [1, 1, 1, -1], new EquatableList<long>(image.Shape.ToArray())), image);
        }

        using (g.Layer("controlnet_cond_embedding"))
        {
            foreach (var (conv, activated) in hint)
            {
                image = conv.Record(g, image);
                if (activated) image = g.Silu(image);
            }
        }

        return image;
    }

    private Value Scaled(Graph g, Value y, Value? scale)
    {
        if (config.GlobalPool) y = g.Add(new AveragePoolOp((int)y.Shape[1], (int)y.Shape[2], 1, 1), y);
        return scale is { } s ? g.Times(y, g.Reshape(s, 1, 1, 1, 1)) : y;
    }
}
