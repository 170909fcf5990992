using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The U-Net of latent diffusion with a text (Rombach et al. 2022; SDXL: Podell et al. 2023).
/// <code>
/// x --conv_in--down_blocks--mid_block--(+ residual)--up_blocks--conv_norm_out.act--conv_out--> y
///                 +--skips (+ residuals)----------------+
/// </code>
/// x: [N, H, W, InChannels], y: [N, H, W, OutChannels]. What follows from the text alone has the text's rate.
/// </summary>
public sealed class UNet2DConditionModel : INetwork
{
    private readonly UNet2DConditionConfig config;
    private readonly UNetConditionEncoder encoder;
    private readonly List<UNetConditionUpBlock> up = [];
    private readonly Norm normOut;
    private readonly Conv convOut;

    public UNet2DConditionModel(WeightScope w, UNet2DConditionConfig config)
    {
        this.config = config;
        encoder = new(w, config);
        int[] widths = config.BlockOutChannels;
        for (int i = 0; i < widths.Length; i++)
        {
            int level = widths.Length - 1 - i;
            int depth = config.UpTransformerDepth is { } depths ? depths[i] : config.TransformerDepth[level];
            up.Add(new(
                w.At($"up_blocks.{i}"), new(config, level, depth, config.UpCross[i]),
                widths[Math.Min(level + 1, widths.Length - 1)], widths[Math.Max(level - 1, 0)], last: level == 0));
        }

        normOut = new(w.At("conv_norm_out"), widths[0], config.NormGroups, config.NormEpsilon);
        convOut = new(w.At("conv_out"), widths[0], config.OutChannels, config.ConvOutKernel);
    }

    public UNet2DConditionConfig Config => config;

    public void Record(NetworkIO io)
    {
        var x = io.Map("sample", config.InChannels);
        var c = UNetConditions.Declare(io, config, x.Shape[0]);
        c = DeclareResiduals(io, c, x.Shape);
        io.OutputMap("sample", Record(io.Graph, x, io.Times("timestep", x.Shape[0]), c));
    }

    /// <summary>Records one evaluation.</summary>
    /// <param name="x">[N, H, W, InChannels]; any height and width.</param>
    /// <param name="t">[N] or [1].</param>
    /// <returns>[N, H, W, OutChannels].</returns>
    public Value Record(Graph g, Value x, Value t, UNetConditions c)
    {
        var inputs = encoder.RecordInputs(g, t, c, x.Shape[0]);
        var skips = new UNetSkips(g);
        var (h, maps) = encoder.Record(g, encoder.RecordIn(g, x), inputs, c.AdapterFeatures, skips.Wanted);
        for (int i = 0; i < maps.Count; i++) skips.Push(i < c.DownResiduals.Count ? g.Plus(maps[i], c.DownResiduals[i]) : maps[i]);
        if (c.MiddleResidual is { } residual && !skips.Complete) h = g.Plus(h, residual);
        h = skips.Turn(h);
        for (int i = 0; i < up.Count; i++)
        {
            using (g.Layer($"up_blocks.{i}")) h = up[i].Record(g, h, inputs, skips);
        }

        using (g.Layer("conv_out")) return convOut.Record(g, g.Unary(config.Activation, normOut.Record(g, h)));
    }

    // down_res0, down_res1, ... and mid_res: all of them or none.
    private UNetConditions DeclareResiduals(NetworkIO io, UNetConditions c, Shape x)
    {
        var sizes = encoder.MapSizes(x[1], x[2]);
        bool given = io.Has("mid_res") || Enumerable.Range(0, sizes.Count).Any(i => io.Has($"down_res{i}"));
        if (!given) return c;
        return c with { DownResiduals = [.. Enumerable.Range(0, sizes.Count - 1).Select(i => Residual($"down_res{i}", sizes[i]))], MiddleResidual = Residual("mid_res", sizes[^1]) };

        Value Residual(string name, (int Channels, long Height, long Width) size)
        {
            var map = io.Map(name, size.Channels);
            return map.Shape == new Shape(x[0], size.Height, size.Width, size.Channels)
                ? map
                : throw io.Problem(name, $"expected [{x[0]}, {size.Channels}, {size.Height}, {size.Width}], found [{map.Shape[0]}, {map.Shape[3]}, {map.Shape[1]}, {map.Shape[2]}]");
        }
    }
}
