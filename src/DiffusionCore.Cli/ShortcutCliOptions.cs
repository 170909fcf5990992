using System.CommandLine;
using System.Globalization;
using DiffusionCore.Runtime;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Cli;

/// <summary>The options by which a run leaves work out.</summary>
internal sealed class ShortcutCliOptions
{
    private readonly Option<string?> deepCache = new("--deepcache") { Description = "Compute the whole network at every Nth evaluation only: interval=3,branch=0,schedule=uniform|quadratic,center=0.3,power=1.4" };
    private readonly Option<string?> merging = new("--tome") { Description = "Merge alike tokens before self-attention: ratio=0.5,levels=0+1 (0 is the finest level, and the default)" };
    private readonly Option<string?> gate = new("--tgate") { Description = "Step from which on cross-attentions are reused and the unconditional branch is left out" };
    private readonly Option<string?> keys = new("--reuse-encoder") { Description = "Evaluations at which the network's way down is computed, beginning with 0; others reuse it: 0,1,2,3,5,10,15,25,35" };
    private readonly Option<string?> coarse = new("--coarse") { Description = "First steps at a lower resolution: steps=8,factor=2" };

    public void AddTo(Command command)
    {
        foreach (var option in (Option[])[deepCache, merging, gate, keys, coarse]) command.Add(option);
    }

    /// <exception cref="UsageException">A value that cannot be read.</exception>
    public ShortcutOptions Read(ParseResult p) => new()
    {
        DeepCache = p.GetValue(deepCache) is { } d ? DeepCacheOptions.Parse(d) : null,
        Merging = p.GetValue(merging) is { } m ? TokenMergingOptions.Parse(m) : null,
        GateStep = p.GetValue(gate) is { } g ? Step(g) : null,
        EncoderKeys = p.GetValue(keys) is { } k ? ShortcutOptions.ParseKeys(k) : null,
        Coarse = p.GetValue(coarse) is { } c ? CoarseStepsOptions.Parse(c) : null,
    };

    private static int Step(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int step) ? step : throw new UsageException($"tgate: expected a step of 1 or more, found '{text}'");
}
