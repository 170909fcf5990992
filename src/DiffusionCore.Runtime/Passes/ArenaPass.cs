namespace DiffusionCore.Runtime.Passes;

/// <summary>A buffer's bytes and the steps [First, Last] at which they must be intact.</summary>
public readonly record struct Lifetime(long Bytes, int First, int Last);

/// <summary>
/// Places buffers in one block so that no two that live at the same time overlap: largest first, each at the lowest offset that is free
/// for its whole life. Offsets are multiples of <see cref="Alignment"/>.
/// </summary>
public static class ArenaPass
{
    /// <summary>A cache line, and the width of the widest vector.</summary>
    public const long Alignment = 64;

    public static (long[] Offsets, long Bytes) Place(IReadOnlyList<Lifetime> buffers)
    {
        var offsets = new long[buffers.Count];
        var placed = new List<int>();                                     // sorted by offset
        long total = 0;
        foreach (int i in Enumerable.Range(0, buffers.Count).OrderByDescending(i => buffers[i].Bytes).ThenBy(i => buffers[i].First).ThenBy(i => i))
        {
            long size = Align(buffers[i].Bytes), at = 0;
            foreach (int j in placed)
            {
                if (buffers[j].Last < buffers[i].First || buffers[i].Last < buffers[j].First) continue;
                if (at + size <= offsets[j]) break;
                at = Math.Max(at, offsets[j] + Align(buffers[j].Bytes));
            }

            offsets[i] = at;
            int position = placed.FindIndex(j => offsets[j] > at);
            placed.Insert(position < 0 ? placed.Count : position, i);
            total = Math.Max(total, at + size);
        }

        return (offsets, total);
    }

    public static long Align(long bytes) => checked((bytes + Alignment - 1) / Alignment * Alignment);
}
