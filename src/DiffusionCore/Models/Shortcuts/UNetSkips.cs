using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>
/// The skips of a U-Net between its way down and its way up, and the place where a shortcut cuts it.
/// <code>
/// way down: Push ... Push   Turn   way up: Join ... Join
/// DeepCache, branch b:  skips 0..b are made, the map that meets skip b is taken from before, the layers before it are left out
/// reused encoder:       all skips and the map at the turn are taken from before
/// </code>
/// Without a shortcut this is a stack. Skip 0 is the first one pushed, the finest.
/// </summary>
internal sealed class UNetSkips
{
    private const string Deep = "deep", DeepImage = "deep.image", Turned = "turn";

    private readonly Graph g;
    private readonly KeptFeatures? kept;
    private readonly List<Value> skips = [];
    private readonly int branch = -1;
    private readonly bool keeps, reuses, encoder;
    private int next;

    public UNetSkips(Graph g)
    {
        this.g = g;
        if (NetworkCuts.Of(g) is not { Features: not CutMode.None } cuts) return;
        kept = cuts.KeptFeatures!;
        (keeps, reuses) = (cuts.Features == CutMode.Keep, cuts.Features == CutMode.Reuse);
        (encoder, branch) = (cuts.Options.DeepCache is null, cuts.Options.DeepCache?.Branch ?? -1);
    }

    /// <param name="first">Skip 0.</param>
    public UNetSkips(Graph g, Value first)
        : this(g) => Push(first);

    /// <summary>Skips that the way up reads from the way down.</summary>
    public int Wanted => !reuses ? int.MaxValue : encoder ? 0 : branch + 1;

    /// <summary>Whether all skips that are read are there: the rest of the way down, and the middle, are left out.</summary>
    public bool Complete => skips.Count >= Wanted;

    /// <summary>On the way up: whether the layer that the shortcut enters at is still ahead.</summary>
    public bool Pending => reuses && !encoder && next >= branch;

    /// <summary>The skip that the next layer of the way up reads.</summary>
    public Value Next => skips[next];

    public void Push(Value skip)
    {
        if (!Complete) skips.Add(skip);
    }

    /// <summary>Between the ways.</summary>
    /// <param name="h">The map after the middle; anything where that was left out.</param>
    public Value Turn(Value h)
    {
        if (kept is not null)
        {
            if (keeps) kept.Skips = skips.Count;
            if (keeps && encoder)
            {
                for (int i = 0; i < skips.Count; i++) kept.Keep(g, Skip(i), skips[i]);
                kept.Keep(g, NetworkCuts.NameOf(Turned), h);
            }
            else if (reuses && encoder)
            {
                for (int i = 0; i < kept.Skips; i++) skips.Add(kept.Take(g, Skip(i)));
                h = kept.Take(g, NetworkCuts.NameOf(Turned));
            }
        }

        next = (reuses ? kept!.Skips : skips.Count) - 1;
        return h;
    }

    /// <summary>Whether the next layer of the way up is left out; goes on to the one after it then.</summary>
    public bool Leaves()
    {
        if (!Pending || next == branch) return false;
        next--;
        return true;
    }

    /// <summary>The map beside the next skip, [N, H, W, C + C'].</summary>
    public Value Join(Value h)
    {
        Value? none = null;
        return Join(h, ref none);
    }

    /// <param name="image">What networks that build an image from every level have of it so far.</param>
    public Value Join(Value h, ref Value? image)
    {
        if (next == branch && keeps)
        {
            kept!.Keep(g, NetworkCuts.NameOf(Deep), h);
            if (image is { } built) kept.Keep(g, NetworkCuts.NameOf(DeepImage), built);
        }
        else if (next == branch && reuses)
        {
            h = kept!.Take(g, NetworkCuts.NameOf(Deep));
            if (kept.Shapes.ContainsKey(NetworkCuts.NameOf(DeepImage))) image = kept.Take(g, NetworkCuts.NameOf(DeepImage));
        }

        return g.Concat(3, h, skips[next--]);
    }

    private static string Skip(int index) => NetworkCuts.NameOf($"skip.{index}");
}
