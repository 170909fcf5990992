using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <content>A classifier beside the model.</content>
public sealed partial class ModelFolder
{
    /// <summary>What guidance by a classifier follows; null where there is none.</summary>
    public GuidingClassifier? Classifier { get; private set; }

    /// <summary>Whether the network itself takes no class, and <see cref="Classes"/> are its classifier's.</summary>
    public bool ClassesAreTheClassifiers { get; private set; }

    /// <summary>Networks with the classifier around them, by the run that they were made for.</summary>
    internal System.Runtime.CompilerServices.ConditionalWeakTable<Samplers.SamplerPlan, ClassifierGuide> Guides { get; } = [];

    /// <summary>The network that a run asks: one of a chain, or the one that a classifier was put around for it.</summary>
    internal IDenoiser DenoiserOf(Samplers.SamplerPlan plan, int stage) => Guides.TryGetValue(plan, out var guide) ? guide : Stages[stage];

    private void LoadClassifier(ModelOptions options)
    {
        if (options.Classifier is { } folder)
        {
            var component = Component.Load(folder);
            components.Add(component);
            Classifier = GuidingClassifier.Of(component);
        }
        else if (Network.Network is GuidedPair pair)
        {
            Classifier = GuidingClassifier.Of(Path, pair.Classifier);
        }

        if (Classifier is null) return;
        if (Classes is null) (Classes, ClassesAreTheClassifiers) = (new ClassNames(Classifier.Names, Classifier.Names.Count), true);

        // Numbers must mean the same; a classifier that names its classes may have them in another order.
        bool named = !Classifier.Names.SequenceEqual(ClassNames.Numbers(Classifier.Names.Count));
        if (named && Classes.Names.Any(n => !int.TryParse(n, out _)) && !Classes.Names.Take(Classifier.Names.Count).SequenceEqual(Classifier.Names))
            throw new ModelFileException(Classifier.Path, "classes", $"are not those of {Name}: {string.Join(", ", Classifier.Names.Take(3))}... and {string.Join(", ", Classes.Names.Take(3))}...");
    }
}
