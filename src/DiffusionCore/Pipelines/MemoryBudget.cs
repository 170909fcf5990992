using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>Memory that a pipeline may take: the limit that it was given, and never more than the device has.</summary>
/// <param name="Limit">Bytes; null for what the device has.</param>
internal readonly record struct MemoryBudget(Device Device, long? Limit)
{
    /// <summary>Bytes available.</summary>
    public long Bytes => Math.Min(Limit ?? long.MaxValue, Device.MemoryBytes);

    /// <summary>Weights that a graph reads, each counted once.</summary>
    public static long WeightBytes(Graph graph) => graph.Nodes.Where(n => n.Op is WeightOp).Sum(n => n.Type.Bytes);

    public bool Fits(Plan plan, WeightStore weights, long beside) => plan.ArenaBytes + beside + Stored(plan, weights) <= Bytes;

    /// <param name="beside">Bytes that the plan's user takes beside the arena.</param>
    /// <exception cref="MemoryException">The plan does not fit: says the sizes.</exception>
    public void Check(Plan plan, WeightStore weights, long beside, string what) => Check(plan.ArenaBytes + beside, Stored(plan, weights), what);

    /// <exception cref="MemoryException">It does not fit: says the sizes.</exception>
    public void Check(long arena, long stored, string what)
    {
        if (arena + stored <= Bytes) return;
        bool limited = Bytes == Limit;
        throw new MemoryException(
            $"{what} need {arena / 1e6:F0} MB beside {stored / 1e6:F0} MB of weights, {(limited ? "the limit is" : $"{Device.Name} has")} {Bytes / 1e6:F0} MB; "
            + $"use a smaller --batch or --size{(limited ? ", or a larger --memory-limit" : "")}");
    }

    private static long Stored(Plan plan, WeightStore weights) => Math.Max(weights.Bytes, WeightBytes(plan.Graph));
}
