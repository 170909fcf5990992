using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>Weights as operands of ordinary operations.</summary>
internal static class StoredValues
{
    /// <summary>A stored tensor as F32, whatever the file has: operations that move elements keep the type that they are given.</summary>
    public static Value Stored(this Graph g, IWeightSource source) => g.Cast(g.Weight(source), DType.F32);
}
