using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>Guided diffusion's U-Net: a class, or no condition.</summary>
internal sealed class OpenAiDenoiser(OpenAiUNet unet) : IDenoiser
{
    public int Channels => unet.Config.InChannels;

    public int OutputChannels => unet.Config.OutChannels;

    public int SizeMultiple => unet.SizeMultiple;

    public int? SampleHeight => unet.Config.ImageSize;

    public int? SampleWidth => unet.Config.ImageSize;

    public Value Record(Graph g, Value x, Value t, SessionShape shape) =>
        unet.Record(g, x, t, null, unet.Config.Classes > 0 ? ClassDenoiser.Labels(g, shape) : null);
}

/// <summary>A network that is told the noise level and answers the denoised image. Its class is a vector with one 1; class number Labels is the vector of zeros.</summary>
/// <param name="record">(graph, x, sigma, class vectors or null) to the denoised image.</param>
internal sealed class LevelDenoiser(int channels, int multiple, int side, int labels, Func<Graph, Value, Value, Value?, Value> record) : IDenoiser
{
    public int Channels => channels;

    public int OutputChannels => channels;

    public int SizeMultiple => multiple;

    public int? SampleHeight => side;

    public int? SampleWidth => side;

    public bool TakesClasses => labels > 0;

    public static LevelDenoiser Of(EdmPrecond network) =>
        new(network.Config.ImageChannels, network.Network.SizeMultiple, network.Config.Resolution, network.Config.LabelChannels, (g, x, t, y) => network.Record(g, x, t, y));

    public static LevelDenoiser Of(IddpmPrecond network) =>
        new(network.Config.ImageChannels, network.Network.SizeMultiple, network.Config.Resolution, network.Config.LabelChannels, (g, x, t, y) => network.Record(g, x, t, y));

    public static LevelDenoiser Of(Edm2Precond network) =>
        new(network.Config.ImageChannels, network.SizeMultiple, network.Config.Resolution, network.Config.LabelChannels, (g, x, t, y) => network.Record(g, x, t, y));

    public Value Record(Graph g, Value x, Value t, SessionShape shape) =>
        Record(g, x, t, TakesClasses ? ClassDenoiser.Labels(g, shape) : null);

    /// <param name="classes">[N] class numbers; null where the network takes none.</param>
    public Value Record(Graph g, Value x, Value t, Value? classes)
    {
        if (classes is not { } ids || !TakesClasses) return record(g, x, t, null);
        var rows = new float[(labels + 1) * labels];
        for (int i = 0; i < labels; i++) rows[i * labels + i] = 1;
        return record(g, x, t, g.Embedding(ids, g.Constant(rows, new Shape(labels + 1, labels))));
    }
}

/// <summary>Guidance by a weaker network of the same kind in place of no condition (Karras et al. 2024, autoguidance). Both are told the same class.</summary>
internal sealed class AutoGuidedDenoiser(LevelDenoiser network, LevelDenoiser guide) : IDenoiser
{
    public int Channels => network.Channels;

    public int OutputChannels => network.OutputChannels;

    public int SizeMultiple => Math.Max(network.SizeMultiple, guide.SizeMultiple);

    public int? SampleHeight => network.SampleHeight;

    public int? SampleWidth => network.SampleWidth;

    public Value Record(Graph g, Value x, Value t, SessionShape shape)
    {
        Value? classes = network.TakesClasses ? ClassDenoiser.Labels(g, shape) : null;
        if (!shape.Guided) return network.Record(g, x, t, classes);
        long n = shape.Images;
        Value? told = classes is { } c ? g.Slice(c, 0, n, n) : null;
        Value weak, strong;
        using (g.Layer("guide")) weak = guide.Record(g, g.Slice(x, 0, 0, n), t, told);
        using (g.Layer("net")) strong = network.Record(g, g.Slice(x, 0, n, n), t, told);
        return g.Concat(0, weak, strong);
    }
}

/// <summary>NCSN++ and DDPM++: no condition.</summary>
internal sealed class ScoreDenoiser(ScoreUNet network) : IDenoiser
{
    public int Channels => network.Config.Channels;

    public int OutputChannels => network.Config.Channels;

    public int SizeMultiple => network.SizeMultiple;

    public int? SampleHeight => network.Config.ImageSize;

    public int? SampleWidth => network.Config.ImageSize;

    public Value Record(Graph g, Value x, Value t, SessionShape shape) => network.Record(g, x, t);
}
