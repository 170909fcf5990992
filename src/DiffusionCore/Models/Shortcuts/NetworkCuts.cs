using DiffusionCore.Runtime;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Models;

/// <summary>What a recording does with features that a shortcut passes from one evaluation to later ones.</summary>
internal enum CutMode
{
    None,

    /// <summary>Computes them, and names them as outputs.</summary>
    Keep,

    /// <summary>Takes them as inputs and leaves out what makes them.</summary>
    Reuse,
}

/// <summary>Names and shapes of what a recording kept, for the recordings that take it up.</summary>
internal sealed class KeptFeatures
{
    private readonly Dictionary<string, Shape> shapes = new(StringComparer.Ordinal);

    public IReadOnlyDictionary<string, Shape> Shapes => shapes;

    /// <summary>Skips of the U-Net.</summary>
    public int Skips { get; set; }

    public void Keep(Graph g, string name, Value value)
    {
        g.Output(name, value);
        shapes.Add(name, value.Shape);
    }

    // Of rate Step although they outlive a step: what follows from them must be computed after they are.
    public Value Take(Graph g, string name) => g.Input(name, shapes[name]);
}

/// <summary>
/// How one recording of a network differs from the whole network: the guide that <see cref="Graph.Guide"/> hands to the layers. Several recordings
/// of one network share its weights; one keeps features in its arena, and others read them there.
/// </summary>
internal sealed class NetworkCuts(ShortcutOptions options, long height)
{
    private const string Prefix = "kept.";

    /// <summary>Features of the way down, or of the coarse levels.</summary>
    public CutMode Features { get; init; }

    public KeptFeatures? KeptFeatures { get; init; }

    /// <summary>Results of the cross-attentions.</summary>
    public CutMode Cross { get; init; }

    public KeptFeatures? KeptCross { get; init; }

    /// <summary>Whether the two branches of guidance are evaluated, so that what is kept of cross-attentions is their mean.</summary>
    public bool Guided { get; init; }

    public ShortcutOptions Options => options;

    /// <summary>Self-attentions whose tokens are merged.</summary>
    public int Merged { get; set; }

    /// <summary>Levels at which the network attends to itself, 0 the finest.</summary>
    public SortedSet<int> AttendedLevels { get; } = [];

    public static NetworkCuts? Of(Graph g) => g.Guide as NetworkCuts;

    /// <summary>The level of a map: how often its height was halved.</summary>
    public int LevelOf(long mapHeight) => (int)Math.Round(Math.Log2((double)height / mapHeight));

    public static string NameOf(string what) => Prefix + what;

    /// <summary>
    /// The result of a cross-attention, or what an earlier evaluation kept of it (T-GATE, Zhang et al. 2024): the mean over the branches of guidance, one
    /// row per image.
    /// </summary>
    public static Value CrossAttention(Graph g, Func<Value> attention)
    {
        var cuts = Of(g);
        if (cuts is null || cuts.Cross == CutMode.None) return attention();
        string name = NameOf("cross." + g.CurrentLayer);
        if (cuts.Cross == CutMode.Reuse) return cuts.KeptCross!.Take(g, name);
        var y = attention();
        long images = y.Shape[0] / 2;
        cuts.KeptCross!.Keep(g, name, cuts.Guided ? g.Affine(g.Plus(g.Slice(y, 0, 0, images), g.Slice(y, 0, images, images)), 0.5) : y);
        return y;
    }

    /// <summary>Refuses a shortcut that found nothing to act on.</summary>
    /// <exception cref="UsageException">Names the shortcut and what the network lacks.</exception>
    public void Check(string network)
    {
        if (Features == CutMode.Keep && KeptFeatures!.Shapes.Count == 0)
        {
            if (options.DeepCache is { } deep && KeptFeatures.Skips > 0) throw new UsageException($"deepcache: branch {deep.Branch} is outside the network {network}; it has branches 0 to {KeptFeatures.Skips - 1}");
            throw new UsageException($"{(options.DeepCache is null ? "reuse-encoder" : "deepcache")}: the network {network} has no skips that a shorter evaluation could start from");
        }

        if (Cross == CutMode.Keep && KeptCross!.Shapes.Count == 0) throw new UsageException($"tgate: the network {network} has no cross-attention");
        if (options.Merging is { } merging && Merged == 0)
        {
            throw new UsageException(AttendedLevels.Count == 0
                ? $"tome: the network {network} has no self-attention whose tokens could be merged"
                : $"tome: the network {network} attends to itself at {(AttendedLevels.Count == 1 ? "level" : "levels")} {string.Join(", ", AttendedLevels)}, not at {string.Join(", ", merging.Levels)}; 0 is the finest");
        }
    }
}
