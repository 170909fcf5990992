using System.Globalization;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Shortcuts;

/// <summary>What a run leaves out to be faster, at the price of another image than the whole run's. Nothing by default.</summary>
public sealed record ShortcutOptions
{
    private readonly DeepCacheOptions? deepCache;
    private readonly TokenMergingOptions? merging;
    private readonly CoarseStepsOptions? coarse;

    /// <summary>Null for none; an interval of 1 is none.</summary>
    public DeepCacheOptions? DeepCache { get => deepCache; init => deepCache = value is { Interval: 1 } ? null : value; }

    /// <summary>Null for none; a ratio of 0 is none.</summary>
    public TokenMergingOptions? Merging { get => merging; init => merging = value is { Ratio: 0 } ? null : value; }

    /// <summary>
    /// T-GATE (Zhang et al. 2024): from this step on cross-attentions are not computed; the mean of their last results over both branches of guidance
    /// stands in, and the branch with the condition alone is evaluated. Null for never.
    /// </summary>
    public int? GateStep { get; init; }

    /// <summary>
    /// Faster Diffusion (Li et al. 2023): evaluations, counted from 0, at which the way down and the middle of the network are computed; at the others
    /// their last results are reused. Null for all.
    /// </summary>
    public EquatableList<int>? EncoderKeys { get; init; }

    /// <summary>Null for none.</summary>
    public CoarseStepsOptions? Coarse { get => coarse; init => coarse = value is { Steps: 0 } ? null : value; }

    public bool None => this == new ShortcutOptions();

    /// <summary>Whether features are passed from one evaluation to others.</summary>
    internal bool PassesFeatures => DeepCache is not null || EncoderKeys is not null;

    /// <summary>Evaluation numbers such as 0,1,2,3,5,10,15,25,35.</summary>
    /// <exception cref="UsageException">What is not that.</exception>
    public static EquatableList<int> ParseKeys(string text)
    {
        var keys = new List<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int k)) throw new UsageException($"reuse-encoder: expected evaluation numbers such as 0,1,2,3,5,10, found '{part}'");
            if (keys.Count > 0 && k <= keys[^1]) throw new UsageException($"reuse-encoder: the numbers must rise, found {k} after {keys[^1]}");
            keys.Add(k);
        }

        return keys[0] == 0 ? new EquatableList<int>([.. keys]) : throw new UsageException($"reuse-encoder: the first evaluation has nothing to reuse; the numbers begin with 0, found {keys[0]}");
    }

    /// <summary>Refuses what does not go together.</summary>
    /// <exception cref="UsageException">Names both sides.</exception>
    public void Check(SamplerPlan sampler)
    {
        if (None) return;
        if (DeepCache is not null && EncoderKeys is not null) throw new UsageException("deepcache and reuse-encoder exclude each other: each decides which part of the network is left out");
        if (GateStep is < 1) throw new UsageException($"tgate: expected a step of 1 or more, found {GateStep}: the first step has nothing to reuse");
        if (GateStep is not null && sampler.NeedsUnconditional) throw new UsageException($"tgate: sampler {sampler.Name} reads both branches of guidance at every step");
        if (GateStep is not null && Coarse is not null) throw new UsageException("tgate and coarse exclude each other: what is kept has one resolution");
        bool counts = PassesFeatures || GateStep is not null || Coarse is not null;
        if (counts && sampler.Adaptive is not null) throw new UsageException($"sampler {sampler.Name} chooses its steps as it goes; shortcuts over steps need a fixed schedule");
    }

    /// <summary>Short, for parameters in files: deepcache interval=3 branch=0.</summary>
    public override string ToString()
    {
        var parts = new List<string>();
        if (DeepCache is { } d) parts.Add(string.Create(CultureInfo.InvariantCulture, $"deepcache interval={d.Interval} branch={d.Branch}{(d.Quadratic ? $" schedule=quadratic center={d.Center} power={d.Power}" : "")}"));
        if (EncoderKeys is { } keys) parts.Add($"reuse-encoder {string.Join('+', keys)}");
        if (GateStep is { } gate) parts.Add($"tgate {gate}");
        if (Merging is { } m) parts.Add(string.Create(CultureInfo.InvariantCulture, $"tome ratio={m.Ratio} levels={string.Join('+', m.Levels)}"));
        if (Coarse is { } c) parts.Add($"coarse steps={c.Steps} factor={c.Factor}");
        return string.Join("; ", parts);
    }
}
