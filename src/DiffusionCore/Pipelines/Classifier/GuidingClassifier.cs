using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>A classifier whose gradient leads a run to a class.</summary>
public abstract class GuidingClassifier
{
    private protected GuidingClassifier(string path, IReadOnlyList<string> names) => (Path, Names) = (path, names);

    /// <summary>The folder that it came from.</summary>
    public string Path { get; }

    /// <summary>Of its classes, by number.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Whether it was trained at every noise level; else it is asked about the denoised image.</summary>
    public abstract bool Noisy { get; }

    /// <exception cref="ModelFileException">The component is no classifier.</exception>
    internal static GuidingClassifier Of(Component component) => component.Network switch
    {
        ImageClassifier clean => new Clean(component.Path, clean),
        OpenAiClassifier noisy => Of(component.Path, noisy),
        _ => throw new ModelFileException(component.Path, "_class_name", $"{component.Config.ClassName} is no classifier; expected an ImageClassifier or an EncoderUNetModel(guided_diffusion)"),
    };

    internal static GuidingClassifier Of(string path, OpenAiClassifier classifier) => new AtEveryLevel(path, classifier);

    /// <exception cref="UsageException">It does not read images like these.</exception>
    internal abstract void Check(int height, int width, int channels);

    /// <param name="x">[N, H, W, C]: the latent as the network sees it where <see cref="Noisy"/>, else an image in [-1, 1].</param>
    /// <param name="t">[1]; not used for clean images.</param>
    /// <returns>[N, classes].</returns>
    internal abstract Value RecordLogits(Graph g, Value x, Value t);

    private protected void Require(bool fits, string expected, int height, int width, int channels)
    {
        if (!fits) throw new UsageException($"classifier: {Path} reads images of {expected}, found {width}x{height} with {channels} channels");
    }

    private sealed class Clean(string path, ImageClassifier network) : GuidingClassifier(path, network.Config.Classes)
    {
        public override bool Noisy => false;

        internal override void Check(int height, int width, int channels) =>
            Require(channels == network.Config.InChannels && height == network.Config.SampleSize && width == network.Config.SampleSize, $"{network.Config.SampleSize}x{network.Config.SampleSize} with {network.Config.InChannels} channels", height, width, channels);

        internal override Value RecordLogits(Graph g, Value x, Value t) => network.Record(g, x).Logits;
    }

    private sealed class AtEveryLevel(string path, OpenAiClassifier network) : GuidingClassifier(path, ClassNames.Numbers(network.Config.OutChannels))
    {
        public override bool Noisy => true;

        internal override void Check(int height, int width, int channels)
        {
            var c = network.Config;
            bool sized = c.AttentionPool ? height == c.ImageSize && width == c.ImageSize : height % network.SizeMultiple == 0 && width % network.SizeMultiple == 0;
            Require(sized && channels == c.InChannels, c.AttentionPool ? $"{c.ImageSize}x{c.ImageSize} with {c.InChannels} channels" : $"{c.InChannels} channels in multiples of {network.SizeMultiple}", height, width, channels);
        }

        internal override Value RecordLogits(Graph g, Value x, Value t) => network.Record(g, x, t);
    }
}
