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
        // Planning tries several placements, so the loop over what is placed already works on plain arrays.
        Lifetime[] all = [.. buffers];
        var offsets = new long[all.Length];
        int[] placed = new int[all.Length];                               // sorted by offset
        int count = 0;
        long total = 0;
        foreach (int i in Enumerable.Range(0, all.Length).OrderByDescending(i => all[i].Bytes).ThenBy(i => all[i].First).ThenBy(i => i))
        {
            long size = Align(all[i].Bytes), at = 0;
            for (int p = 0; p < count; p++)
            {
                int j = placed[p];
                if (all[j].Last < all[i].First || all[i].Last < all[j].First) continue;
                if (at + size <= offsets[j]) break;
                at = Math.Max(at, offsets[j] + Align(all[j].Bytes));
            }

            offsets[i] = at;
            int position = count++;
            for (; position > 0 && offsets[placed[position - 1]] > at; position--) placed[position] = placed[position - 1];
            placed[position] = i;
            total = Math.Max(total, at + size);
        }

        return (offsets, total);
    }

    public static long Align(long bytes) => checked((bytes + Alignment - 1) / Alignment * Alignment);
}
