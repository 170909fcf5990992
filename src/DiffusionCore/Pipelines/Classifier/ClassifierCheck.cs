using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Authors;

namespace DiffusionCore.Pipelines;

/// <summary>Whether a classifier can lead a request.</summary>
internal static class ClassifierCheck
{
    /// <exception cref="UsageException">It cannot.</exception>
    public static void Run(ModelFolder model, GenerateRequest request)
    {
        if (request.ClassifierGuidance is not { } scale)
        {
            if (model.ClassesAreTheClassifiers && request.Classes.Count > 0) throw new UsageException($"class: {model.Name} is not conditioned on classes; a classifier leads it there with --classifier-guidance");
            return;
        }

        if (!(scale >= 0 && double.IsFinite(scale))) throw new UsageException(FormattableString.Invariant($"classifier guidance: expected a number of 0 or more, found {scale}"));
        if (request.Classes.Count == 0) throw new UsageException("classifier guidance: give --class, the class to lead to");
        if (request.Guidance != 1) throw new UsageException("classifier guidance replaces classifier-free guidance: use --guidance 1 with it");
        if (scale == 0) return;
        if (model.Classifier is not { } classifier) throw new UsageException($"classifier guidance: {model.Name} has no classifier; give --classifier FOLDER");
        if (model.FirstStage is not null) throw new UsageException($"classifier guidance: {model.Name} works on latents, a classifier on images");
        if (!request.Shortcuts.None) throw new UsageException("classifier guidance differentiates the whole network and takes no shortcuts; leave one of them out");
        if (request.Hires is not null) throw new UsageException("classifier guidance: a second pass at a higher resolution is not led by the classifier; leave one of them out");
        if (classifier.Noisy && model.Own is not (null or GuidedDiffusion)) throw new UsageException($"classifier guidance: {classifier.Path} was trained at the steps of a variance-preserving schedule, which {model.Name} does not have");
        foreach (int c in request.Classes)
            if (c >= classifier.Names.Count) throw new UsageException($"class: {classifier.Path} has {classifier.Names.Count} classes, asked for number {c}");
        int height = request.Height ?? request.Init?.Height ?? model.Denoiser.SampleHeight ?? 0, width = request.Width ?? request.Init?.Width ?? model.Denoiser.SampleWidth ?? 0;
        if (height > 0 && width > 0) classifier.Check(height, width, model.Denoiser.Channels);
    }
}
