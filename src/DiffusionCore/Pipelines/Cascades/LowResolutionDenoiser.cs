using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>
/// A network that raises the resolution of an image (Saharia et al. 2021; cascades: Ho et al. 2021): it sees the enlarged image beside the noisy one. A
/// class embedding of type timestep is told the level of the noise that was added to the small image; a table of classes is told the class.
/// </summary>
internal sealed class LowResolutionDenoiser(UNet2DModel unet) : IDenoiser
{
    /// <summary>[Rows, H, W, Channels], F32: the small image, noised and enlarged, in [-1, 1].</summary>
    public const string LowResolution = "low_resolution";

    /// <summary>[1], I64: the training step whose noise the small image has.</summary>
    public const string NoiseLevel = "noise_level";

    public int Channels => unet.Config.OutChannels;

    public int OutputChannels => unet.Config.OutChannels;

    public int SizeMultiple => unet.SizeMultiple;

    public int? SampleHeight => unet.Config.SampleHeight;

    public int? SampleWidth => unet.Config.SampleWidth;

    public bool TakesNoiseLevel => unet.Config.ClassEmbedding == ClassEmbeddingKind.Timestep;

    /// <summary>Whether a network's inputs are an image beside a noisy one.</summary>
    public static bool Fits(UNet2DModel unet) => unet.Config.InChannels == 2 * unet.Config.OutChannels && unet.Config.ClassEmbedding != ClassEmbeddingKind.Identity;

    public Value Record(Graph g, Value x, Value t, SessionShape shape)
    {
        var low = g.Input(LowResolution, new Shape(shape.Rows, shape.Height, shape.Width, Channels), DType.F32, Rate.Request);
        return unet.Record(g, g.Concat(3, x, low), t, unet.Config.ClassEmbedding switch
        {
            ClassEmbeddingKind.Timestep => g.Input(NoiseLevel, new Shape(1), DType.I64, Rate.Request),
            ClassEmbeddingKind.Table => ClassDenoiser.Labels(g, shape),
            _ => null,
        });
    }
}
