using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>How a residual block changes the resolution.</summary>
public enum BlockResample
{
    None,

    /// <summary>Nearest neighbour up.</summary>
    Up,

    /// <summary>2x2 mean down.</summary>
    Down,

    /// <summary>Binomial filter up.</summary>
    FirUp,

    /// <summary>Binomial filter down.</summary>
    FirDown,
}

/// <summary>Everything a residual block is built from.</summary>
/// <param name="Groups">Groups of the first norm.</param>
/// <param name="GroupsOut">Groups of the second norm.</param>
/// <param name="TimeChannels">Width of the time embedding; 0 where there is none.</param>
/// <param name="ScaleShift">Whether the embedding scales and shifts the second norm instead of being added before it.</param>
/// <param name="OutputScale">The sum is divided by this.</param>
/// <param name="Shortcut">Whether a 1x1 convolution is on the shortcut; null: only where the channels change.</param>
public sealed record ResnetOptions(
    int Inputs, int Outputs, int Groups, int GroupsOut, double Epsilon, int TimeChannels, bool ScaleShift = false, double OutputScale = 1,
    BlockResample Resample = BlockResample.None, bool? Shortcut = null, Unary Activation = Unary.Silu);

/// <summary>
/// The residual block of the diffusion U-Nets.
/// <code>
/// x --norm1.act--[resample]--conv1--(+ time_emb_proj(act(temb)))--norm2.act--conv2--(+)--(/ scale)--> y
/// +--[resample]--[conv_shortcut]------------------------------------------------+
/// </code>
/// x: [N, H, W, Inputs], temb: [N, TimeChannels], y: [N, H', W', Outputs]. Weight names follow diffusers' ResnetBlock2D; the first stages'
/// nin_shortcut is taken too.
/// </summary>
public sealed class ResnetBlock
{
    private readonly ResnetOptions options;
    private readonly Norm norm1;
    private readonly Conv conv1;
    private readonly Linear? timeProjection;
    private readonly Norm norm2;
    private readonly Conv conv2;
    private readonly Conv? shortcut;

    public ResnetBlock(WeightScope w, ResnetOptions options)
    {
        this.options = options;
        norm1 = new(w.At("norm1"), options.Inputs, options.Groups, options.Epsilon);
        conv1 = new(w.At("conv1"), options.Inputs, options.Outputs, 3);
        if (options.TimeChannels > 0) timeProjection = new(w.At("time_emb_proj"), options.TimeChannels, options.Outputs * (options.ScaleShift ? 2 : 1));
        norm2 = new(w.At("norm2"), options.Outputs, options.GroupsOut, options.Epsilon);
        conv2 = new(w.At("conv2"), options.Outputs, options.Outputs, 3);
        if (options.Shortcut ?? options.Inputs != options.Outputs) shortcut = new(w.AtAny("conv_shortcut", "nin_shortcut"), options.Inputs, options.Outputs, 1);
    }

    /// <param name="activatedTime">act(temb), computed once for all blocks; null where the block has no time projection.</param>
    public Value Record(Graph g, Value x, Value? activatedTime)
    {
        var h = Resampled(g, g.Unary(options.Activation, norm1.Record(g, x)));
        var skip = Resampled(g, x);
        h = conv1.Record(g, h);
        Value? time = timeProjection is not null && activatedTime is { } t ? timeProjection.Record(g, t) : null;
        if (time is { } add && !options.ScaleShift) h = g.Plus(h, PerImage(g, add));
        h = norm2.Record(g, h);
        if (time is { } modulation && options.ScaleShift)
        {
            var scale = PerImage(g, g.Slice(modulation, 1, 0, options.Outputs));
            var shift = PerImage(g, g.Slice(modulation, 1, options.Outputs, options.Outputs));
            h = g.Plus(g.Times(h, g.Affine(scale, 1, 1)), shift);
        }

        h = g.Unary(options.Activation, h);
        if (shortcut is not null) skip = shortcut.Record(g, skip);
        return g.Affine(g.Plus(conv2.Record(g, h), skip), 1 / options.OutputScale);
    }

    private static Value PerImage(Graph g, Value v) => g.Reshape(v, v.Shape[0], 1, 1, v.Shape[1]);

    private Value Resampled(Graph g, Value x) => options.Resample switch
    {
        BlockResample.Up => Resampling.Nearest2x(g, x),
        BlockResample.Down => Resampling.Average2x(g, x),
        BlockResample.FirUp => Resampling.FirUp2x(g, x),
        BlockResample.FirDown => Resampling.FirDown2x(g, x),
        _ => x,
    };
}
