using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>CompVis' U-Net: a context, channels beside the latent, or no condition.</summary>
/// <param name="channels">Of the latent; what the network takes beyond them is the condition's.</param>
internal sealed class LatentDenoiser(OpenAiUNet unet, int channels) : IDenoiser
{
    /// <summary>[Rows, H, W, channels beside the latent], F32.</summary>
    public const string Beside = "c_concat";

    public int Channels => channels;

    public int OutputChannels => unet.Config.OutChannels;

    public int SizeMultiple => unet.SizeMultiple;

    public int? SampleHeight => unet.Config.ImageSize;

    public int? SampleWidth => unet.Config.ImageSize;

    /// <summary>Channels beside the latent.</summary>
    public int BesideChannels => unet.Config.InChannels - channels;

    public Value Record(Graph g, Value x, Value t, SessionShape shape)
    {
        if (BesideChannels > 0) x = g.Concat(3, x, g.Input(Beside, new Shape(shape.Rows, shape.Height, shape.Width, BesideChannels), DType.F32, Rate.Request));
        return unet.Record(g, x, t, Context(g, unet.Config, shape));
    }

    internal static Value? Context(Graph g, OpenAiUNetConfig config, SessionShape shape) =>
        config.ContextChannels is { } width && shape.Tokens > 0 ? g.Input(TextDenoiser.Context, new Shape(shape.Rows, shape.Tokens, width), DType.F32, Rate.Request) : null;
}

/// <summary>
/// One stage of Frido's pyramid: the channels of its level are denoised, those of the coarser levels are given and stay. What follows from them alone, the
/// maps that modulate every norm, is computed once per image and serves every step and both branches of guidance.
/// </summary>
public sealed class PyramidStage(PyramidUNet unet, int stage, Rate mapRate = Rate.Request) : IDenoiser
{
    /// <summary>[Images, H, W, channels of the coarser levels], F32.</summary>
    public const string Coarser = "coarser";

    public int Channels => unet.Config.Stages[stage];

    public int OutputChannels => Channels;

    /// <summary>Channels of the coarser levels.</summary>
    public int CoarserChannels => unet.Config.Stages[..stage].Sum();

    public int SizeMultiple => unet.SizeMultiple;

    public int? SampleHeight => unet.Config.ImageSize;

    public int? SampleWidth => unet.Config.ImageSize;

    public Value Record(Graph g, Value x, Value t, SessionShape shape)
    {
        Value? coarser = stage == 0 ? null : g.Input(Coarser, new Shape(shape.Images, shape.Height, shape.Width, CoarserChannels), DType.F32, mapRate);
        return unet.Record(g, stage, x, coarser, t, LatentDenoiser.Context(g, unet.Config, shape));
    }
}
