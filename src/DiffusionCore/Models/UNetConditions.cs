using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>
/// What steers a conditional U-Net beside the latent and the time. All but the residuals of a ControlNet stay the same over a request:
/// inputs of rate Request keep what follows from them out of every step.
/// </summary>
public sealed record UNetConditions
{
    /// <summary>[N, L, context channels]: the text, token by token.</summary>
    public Value? Context { get; init; }

    /// <summary>[N, L]: 1 where a token may be attended to, 0 where not.</summary>
    public Value? ContextMask { get; init; }

    /// <summary>[N, time_cond_proj_dim], such as an embedded guidance weight (Meng et al. 2023).</summary>
    public Value? TimeCondition { get; init; }

    /// <summary>[N] class numbers, or [N, D] vectors.</summary>
    public Value? Classes { get; init; }

    /// <summary>[N, D]: the pooled text (SDXL).</summary>
    public Value? TextEmbeds { get; init; }

    /// <summary>[N, 6]: original height and width, crop top and left, target height and width (SDXL).</summary>
    public Value? TimeIds { get; init; }

    /// <summary>A ControlNet's maps [N, H, W, C], one per skip; empty where there are none.</summary>
    public IReadOnlyList<Value> DownResiduals { get; init; } = [];

    public Value? MiddleResidual { get; init; }

    /// <summary>A T2I adapter's maps [N, H, W, C], one per level; empty where there are none.</summary>
    public IReadOnlyList<Value> AdapterFeatures { get; init; } = [];

    /// <summary>
    /// The vector of <see cref="TimeCondition"/> that latent consistency models take for a guidance weight w (Luo et al. 2023): sines, then cosines,
    /// of 1000 (w - 1) at frequencies from 1 to 1/10000.
    /// </summary>
    /// <param name="weight">[N]: w as pipelines state it, where 1 is no guidance.</param>
    /// <param name="channels">time_cond_proj_dim.</param>
    /// <returns>[N, channels].</returns>
    public static Value RecordGuidance(Graph g, Value weight, int channels) =>
        g.Add(new SinusoidalEmbeddingOp(channels, Flip: false, Shift: 1, Scale: 1000), g.Affine(g.Cast(weight, DType.F32), 1, -1));

    /// <summary>Declares the inputs that a component of this configuration takes, and checks them against the latent.</summary>
    /// <exception cref="ModelFileException">One is missing, does not fit, or is one that this network does not take.</exception>
    internal static UNetConditions Declare(NetworkIO io, UNet2DConditionConfig config, long images)
    {
        int width = config.EncoderHiddenChannels ?? config.ContextChannels[0];
        var context = io.Input("encoder_hidden_states", 3, Rate.Request);
        if (context.Shape[0] != images || context.Shape[2] != width) throw io.Problem("encoder_hidden_states", $"expected [{images}, tokens, {width}], found {context.Shape}");
        var mask = io.Optional("encoder_attention_mask", 2, Rate.Request);
        if (mask is { } m && m.Shape != new Shape(images, context.Shape[1])) throw io.Problem("encoder_attention_mask", $"expected [{images}, {context.Shape[1]}], found {m.Shape}");
        var (text, sizes) = DeclareAdded(io, config, images);
        return new UNetConditions
        {
            Context = context,
            ContextMask = mask,
            TimeCondition = Taken(io, "timestep_cond", config.TimeConditionChannels > 0) ? Vector(io, "timestep_cond", images, config.TimeConditionChannels) : null,
            Classes = DeclareClasses(io, config, images),
            TextEmbeds = text,
            TimeIds = sizes,
        };
    }

    private static (Value? Text, Value? Sizes) DeclareAdded(NetworkIO io, UNet2DConditionConfig config, long images)
    {
        if (!config.TextTime)
        {
            Taken(io, "added_text_embeds", false);
            Taken(io, "added_time_ids", false);
            return (null, null);
        }

        Value text = Vector(io, "added_text_embeds", images, -1), sizes = Vector(io, "added_time_ids", images, -1);
        long width = text.Shape[1] + sizes.Shape[1] * config.AdditionTimeChannels;
        return width == config.ProjectionChannels
            ? (text, sizes)
            : throw io.Problem("added_time_ids", $"expected {config.ProjectionChannels} numbers of in.added_text_embeds and {config.AdditionTimeChannels} for each size, found {width} with {sizes.Shape}");
    }

    private static Value? DeclareClasses(NetworkIO io, UNet2DConditionConfig config, long images)
    {
        if (config.ClassEmbedding == ConditionClassKind.None)
        {
            Taken(io, "class_labels", false);
            return null;
        }

        if (config.ClassEmbedding is ConditionClassKind.Table or ConditionClassKind.Timestep)
        {
            var labels = io.Input("class_labels", 1, Rate.Request);
            return labels.Shape[0] == images ? labels : throw io.Problem("class_labels", $"expected [{images}], found {labels.Shape}");
        }

        return Vector(io, "class_labels", images, config.ClassEmbedding == ConditionClassKind.Identity ? config.TimeChannels : config.ProjectionChannels!.Value);
    }

    private static bool Taken(NetworkIO io, string name, bool takes)
    {
        if (!io.Has(name)) return false;
        return takes ? true : throw io.Problem(name, "is given, but this network does not take it");
    }

    private static Value Vector(NetworkIO io, string name, long images, int width)
    {
        var v = io.Input(name, 2, Rate.Request);
        if (v.Shape[0] != images || (width >= 0 && v.Shape[1] != width)) throw io.Problem(name, $"expected [{images}, {(width >= 0 ? width : "width")}], found {v.Shape}");
        return v;
    }
}
