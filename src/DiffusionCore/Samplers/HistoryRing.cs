namespace DiffusionCore.Samplers;

/// <summary>Slots of the last estimates of a multistep solver, used in turn.</summary>
/// <param name="Slots">How many. An estimate may overwrite the oldest as that is read; with a threshold it needs a place of its own.</param>
internal readonly record struct HistoryRing(int Slots)
{
    public static HistoryRing For(int former, bool thresholding) => new(former == 0 ? 0 : thresholding ? former + 1 : former);

    /// <summary>The terms of former estimates; <paramref name="weights"/>[0] belongs to the last one.</summary>
    /// <param name="known">Estimates before this one.</param>
    public HistoryTerm[] Terms(int known, ReadOnlySpan<double> weights)
    {
        var terms = new List<HistoryTerm>();
        for (int k = 0; k < weights.Length; k++) if (weights[k] != 0) terms.Add(new HistoryTerm((known - 1 - k) % Slots, weights[k]));
        return [.. terms];
    }

    public int SlotOf(int known) => Slots == 0 ? 0 : known % Slots;
}
