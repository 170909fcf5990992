using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>A part of a pipeline that holds memory and can give it back, to be prepared again when it is needed.</summary>
internal interface IMemoryHolder
{
    /// <summary>Bytes held now: arenas, weights and staging.</summary>
    long HeldBytes { get; }

    /// <summary>Gives back what is not in use.</summary>
    void Release();
}

/// <summary>What a phase of a request needs at once.</summary>
/// <param name="What">For messages: decoding an image of 512x512.</param>
/// <param name="Weights">Of all its plans.</param>
/// <param name="Working">Arenas, inputs, outputs and staging.</param>
internal readonly record struct PhaseNeeds(string What, WeightNeeds Weights, long Working)
{
    public long All => Working + Weights.All;

    public long Least => Working + Weights.Least;
}

/// <summary>
/// Memory that a pipeline may take: the limit that the request was given, and never more than the device has, less what the process takes anyway.
/// Phases claim it one after the other: a phase that does not fit beside the others has them give theirs back; one that does not fit alone has its
/// weights read from their files as it runs; only where that does not fit either is it refused.
/// </summary>
internal sealed class MemoryBudget
{
    /// <summary>What the process grows by while it runs, beside arenas and weights: compiled code, the collector's heap, threads' parts of files.</summary>
    public const long Reserve = 48_000_000;

    private readonly Device device;
    private readonly long? limit;
    private readonly long occupied;
    private readonly IReadOnlyList<IMemoryHolder> holders;
    private readonly Action<string>? note;

    /// <param name="limit">Bytes of the whole process; null for what the device has.</param>
    /// <param name="occupied">Of those, bytes that the process takes beside the holders', now and later.</param>
    /// <param name="note">Hears what is read from files as it runs.</param>
    public MemoryBudget(Device device, long? limit, long occupied = 0, IReadOnlyList<IMemoryHolder>? holders = null, Action<string>? note = null)
    {
        (this.device, this.limit, this.occupied, this.holders, this.note) = (device, limit, occupied, holders ?? [], note);
    }

    /// <summary>Null where the device's memory is the only bound.</summary>
    public long? Limit => limit;

    /// <summary>Bytes for the phases.</summary>
    public long Bytes => Total - occupied;

    private long Total => Math.Min(limit ?? long.MaxValue, device.MemoryBytes);

    private bool Limited => limit <= device.MemoryBytes;

    /// <summary>Whether a phase fits when nothing else is held.</summary>
    public bool Fits(in PhaseNeeds phase) => phase.Least <= Bytes;

    /// <summary>Whether it then fits with all its weights.</summary>
    public bool FitsWhole(in PhaseNeeds phase) => phase.All <= Bytes;

    /// <exception cref="MemoryException">The phase does not fit, whatever is done: says the sizes.</exception>
    public void Check(in PhaseNeeds phase)
    {
        if (Fits(phase)) return;
        string weights = phase.Weights.Least < phase.Weights.All ? $"at least {Megabytes(phase.Weights.Least)} of their {Megabytes(phase.Weights.All)} of weights" : $"{Megabytes(phase.Weights.All)} of weights";
        throw new MemoryException(
            $"{phase.What} need {Megabytes(phase.Working)} beside {weights} and {Megabytes(occupied)} for the program itself, {(Limited ? "the limit is" : $"{device.Name} has")} {Megabytes(Total)}; "
            + $"use a smaller --batch or --size{(Limited ? ", or a larger --memory-limit" : "")}");
    }

    /// <summary>Makes room for a phase that is about to be prepared.</summary>
    /// <param name="self">Whose phase it is: what it holds now is counted in its needs.</param>
    /// <returns>Bytes that its weights may take.</returns>
    /// <exception cref="MemoryException">There is not enough.</exception>
    public long Claim(IMemoryHolder self, in PhaseNeeds phase)
    {
        Check(phase);
        foreach (var holder in holders)
        {
            if (Others(self) + phase.All <= Bytes) break;
            if (!ReferenceEquals(holder, self)) holder.Release();
        }

        long room = Bytes - Others(self) - phase.Working;
        if (room < phase.Weights.Least) Check(phase with { Working = phase.Working + Others(self) });
        return Math.Min(room, phase.Weights.All);
    }

    /// <summary>Says that weights are read as they are needed.</summary>
    public void Say(string what, long read, long all)
    {
        if (read > 0) note?.Invoke($"{what}: {Megabytes(read)} of {Megabytes(all)} of weights do not fit {(Limited ? "the limit of " : "")}{Megabytes(Total)} and are read from disk whenever they are needed, which is slower");
    }

    public static string Megabytes(long bytes) => bytes < 10_000_000 ? FormattableString.Invariant($"{bytes / 1e6:F2} MB") : FormattableString.Invariant($"{bytes / 1e6:F0} MB");

    private long Others(IMemoryHolder self) => holders.Where(h => !ReferenceEquals(h, self)).Sum(h => h.HeldBytes);
}
