using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Runtime;

/// <summary>
/// Which of a plan's weights stay in memory and which are read from their files again at every run, for a given number of bytes.
/// </summary>
/// <remarks>
/// What is read goes through a ring that holds the two largest steps' worth of it, so that one step's weights arrive while the step before computes.
/// The largest weights stay first, because they make the ring small; what room is left is given to weights spread evenly over the plan's order, so
/// that reading has computation to hide behind everywhere. The result depends on the plan and the bytes alone.
/// </remarks>
internal sealed class WeightResidency
{
    // Below this share of all weights a tensor is not worth a read: norms and biases.
    private const int SmallShare = 4096;

    private WeightResidency(IReadOnlyList<PlacedUse> uses, HashSet<WeightUse> streamed, long ringBytes)
    {
        (Uses, Streamed, RingBytes) = (uses, streamed, ringBytes);
        Resident = [.. uses.Select(u => u.Use).Distinct().Where(u => !streamed.Contains(u))];
    }

    public IReadOnlyList<PlacedUse> Uses { get; }

    /// <summary>Read at every run that needs them.</summary>
    public IReadOnlySet<WeightUse> Streamed { get; }

    /// <summary>Held.</summary>
    public IReadOnlyList<WeightUse> Resident { get; }

    /// <summary>Bytes of the ring; 0 where nothing is streamed.</summary>
    public long RingBytes { get; }

    public long StreamedBytes => Streamed.Sum(u => u.Bytes);

    /// <summary>What the weights take with all of them held, and at least.</summary>
    public static WeightNeeds Needs(IReadOnlyList<PlacedUse> uses, Func<WeightUse, bool> held)
    {
        long all = uses.Select(u => u.Use).Distinct().Sum(u => ArenaPass.Align(u.Bytes)), least = all;
        foreach (var (resident, largest, _) in Choices(uses, all, held)) least = Math.Min(least, resident + largest);
        return new WeightNeeds(all, least);
    }

    /// <param name="held">Whether a use is in memory already, and stays.</param>
    /// <param name="bytes">That weights and ring may take.</param>
    /// <exception cref="MemoryException">Not even the largest step's weights fit beside what cannot be streamed.</exception>
    public static WeightResidency Choose(IReadOnlyList<PlacedUse> uses, Func<WeightUse, bool> held, long bytes)
    {
        long all = uses.Select(u => u.Use).Distinct().Sum(u => ArenaPass.Align(u.Bytes));
        if (all <= bytes) return new WeightResidency(uses, [], 0);
        foreach (int buffers in (int[])[2, 1])
        {
            foreach (var (resident, largest, pool) in Choices(uses, all, held))
            {
                long room = bytes - resident - (buffers * largest);
                if (room >= 0) return new WeightResidency(uses, Leave(uses, pool, room), buffers * largest);
            }
        }

        throw new MemoryException($"weights of {all / 1e6:F0} MB in {bytes / 1e6:F0} MB, less than the largest layers need");
    }

    // By the size of the largest weight that is streamed, smallest first: bytes that stay, the largest step's streamed bytes, and what is streamed.
    private static IEnumerable<(long Resident, long Largest, HashSet<WeightUse> Pool)> Choices(IReadOnlyList<PlacedUse> uses, long all, Func<WeightUse, bool> held)
    {
        var able = uses.Select(u => u.Use).Distinct().Where(u => u.Bytes > all / SmallShare && !held(u) && u.PartRows > 0).ToArray();
        foreach (long size in able.Select(u => u.Bytes).Distinct().Order())
        {
            HashSet<WeightUse> pool = [.. able.Where(u => u.Bytes <= size)];
            yield return (all - pool.Sum(u => ArenaPass.Align(u.Bytes)), LargestStep(uses, pool), pool);
        }
    }

    private static long LargestStep(IReadOnlyList<PlacedUse> uses, HashSet<WeightUse> streamed)
    {
        long largest = 0, step = 0;
        for (int i = 0; i < uses.Count; i++)
        {
            if (i > 0 && (uses[i].Rate, uses[i].Step) != (uses[i - 1].Rate, uses[i - 1].Step)) step = 0;
            if (streamed.Contains(uses[i].Use)) step += ArenaPass.Align(uses[i].Use.Bytes);
            largest = Math.Max(largest, step);
        }

        return largest;
    }

    // Takes as many weights out of the pool as fit the room. Those of the step rate first: the others are read once per request.
    private static HashSet<WeightUse> Leave(IReadOnlyList<PlacedUse> uses, HashSet<WeightUse> pool, long room)
    {
        var repeated = uses.Where(u => u.Rate == Rate.Step && pool.Contains(u.Use)).Select(u => u.Use).Distinct().ToArray();
        var once = uses.Select(u => u.Use).Where(u => pool.Contains(u) && !repeated.Contains(u)).Distinct().ToArray();
        long total = repeated.Sum(u => ArenaPass.Align(u.Bytes));
        double share = total == 0 ? 0 : Math.Min(1, (double)room / total), saved = 0;
        foreach (var use in repeated)
        {
            long size = ArenaPass.Align(use.Bytes);
            saved += share * size;
            if (saved < size || size > room) continue;
            saved -= size;
            Keep(use, size);
        }

        // What rounding left.
        foreach (var use in repeated.Concat(once))
        {
            long size = ArenaPass.Align(use.Bytes);
            if (pool.Contains(use) && size <= room) Keep(use, size);
        }

        return pool;

        void Keep(WeightUse use, long size)
        {
            pool.Remove(use);
            room -= size;
        }
    }
}
