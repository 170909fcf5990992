using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>UNet2DModel: no condition, or a class.</summary>
internal sealed class ClassDenoiser(UNet2DModel unet) : IDenoiser
{
    /// <summary>[Rows] class numbers, I64.</summary>
    public const string ClassLabels = "class_labels";

    public int Channels => unet.Config.InChannels;

    public int OutputChannels => unet.Config.OutChannels;

    public int SizeMultiple => unet.SizeMultiple;

    public int? SampleHeight => unet.Config.SampleHeight;

    public int? SampleWidth => unet.Config.SampleWidth;

    public Value Record(Graph g, Value x, Value t, SessionShape shape) =>
        unet.Record(g, x, t, unet.Config.ClassEmbedding == ClassEmbeddingKind.None ? null : Labels(g, shape));

    /// <summary>The input <see cref="ClassLabels"/>.</summary>
    internal static Value Labels(Graph g, SessionShape shape) => g.Input(ClassLabels, new Shape(shape.Rows), DType.I64, Rate.Request);
}

/// <summary>DiT: a class, always.</summary>
internal sealed class TransformerDenoiser(DiTTransformer2DModel network) : IDenoiser
{
    public int Channels => network.Config.InChannels;

    public int OutputChannels => network.Config.OutChannels;

    public int SizeMultiple => network.Config.Patch;

    public int? SampleHeight => network.Config.SampleSize;

    public int? SampleWidth => network.Config.SampleSize;

    public Value Record(Graph g, Value x, Value t, SessionShape shape) =>
        network.Record(g, x, t, ClassDenoiser.Labels(g, shape));
}
