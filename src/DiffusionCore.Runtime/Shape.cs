using System.Runtime.CompilerServices;

namespace DiffusionCore.Runtime;

/// <summary>Extents of a tensor, outermost first; rank 0 (a scalar) to 6. Activations are channels-last: [N, H, W, C].</summary>
public readonly struct Shape : IEquatable<Shape>
{
    public const int MaxRank = 6;

    [InlineArray(MaxRank)]
    private struct Extents
    {
        private long first;
    }

    private readonly Extents extents;

    public Shape(params ReadOnlySpan<long> dims)
    {
        if (dims.Length > MaxRank) throw new ArgumentException($"rank {dims.Length} is above {MaxRank}", nameof(dims));
        long count = 1;
        for (int i = 0; i < dims.Length; i++)
        {
            if (dims[i] < 0) throw new ArgumentException($"dimension {i} is {dims[i]}", nameof(dims));
            extents[i] = dims[i];
            count = checked(count * dims[i]);
        }

        Rank = dims.Length;
        Count = count;
    }

    public int Rank { get; }

    /// <summary>Number of elements.</summary>
    public long Count { get; }

    /// <summary>Extent of an axis; negative counts from the end, as in shape[-1] for channels.</summary>
    public long this[int axis]
    {
        get
        {
            int i = axis < 0 ? axis + Rank : axis;
            if ((uint)i >= (uint)Rank) throw new ArgumentOutOfRangeException(nameof(axis), axis, $"shape {this} has rank {Rank}");
            return extents[i];
        }
    }

    public long[] ToArray()
    {
        var dims = new long[Rank];
        for (int i = 0; i < Rank; i++) dims[i] = extents[i];
        return dims;
    }

    /// <summary>The same shape with one extent replaced.</summary>
    public Shape With(int axis, long extent)
    {
        var dims = ToArray();
        dims[axis < 0 ? axis + Rank : axis] = extent;
        return new Shape(dims);
    }

    public bool Equals(Shape other)
    {
        if (Rank != other.Rank) return false;
        for (int i = 0; i < Rank; i++)
            if (extents[i] != other.extents[i]) return false;
        return true;
    }

    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    public override int GetHashCode()
    {
        var hash = new HashCode();
        for (int i = 0; i < Rank; i++) hash.Add(extents[i]);
        return hash.ToHashCode();
    }

    public static bool operator ==(Shape a, Shape b) => a.Equals(b);

    public static bool operator !=(Shape a, Shape b) => !a.Equals(b);

    public override string ToString() => "[" + string.Join(", ", ToArray()) + "]";
}
