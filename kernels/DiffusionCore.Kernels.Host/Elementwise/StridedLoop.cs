namespace DiffusionCore.Kernels.Host;

/// <summary>
/// A loop over up to six axes with a stride per operand and axis. Neighbouring axes that are one run for every operand are merged, so that the
/// innermost run is as long as it can be. Strides are in elements and may be 0 (broadcast) or negative.
/// </summary>
public unsafe struct StridedLoop
{
    public const int MaxRank = 6;
    public const int MaxOperands = 3;

    private fixed long extents[MaxRank];
    private fixed long strides[MaxRank * MaxOperands];

    /// <summary>Axes left after merging; at least 1.</summary>
    public int Rank;

    public int Operands;

    public readonly long Extent(int axis) => extents[axis];

    public readonly long Stride(int operand, int axis) => strides[operand * MaxRank + axis];

    /// <summary>Rows: the product of all extents but the last.</summary>
    public readonly long Rows
    {
        get
        {
            long n = 1;
            for (int a = 0; a < Rank - 1; a++) n *= extents[a];
            return n;
        }
    }

    /// <summary>Elements of the innermost run.</summary>
    public readonly long RowLength => extents[Rank - 1];

    /// <summary>Strides of a dense array of this shape, 0 where an extent of 1 is broadcast to <paramref name="to"/>; missing leading axes are broadcast.</summary>
    /// <param name="stride">Of the last axis.</param>
    public static void Broadcast(ReadOnlySpan<long> shape, ReadOnlySpan<long> to, Span<long> result, long stride = 1)
    {
        for (int i = 1; i <= to.Length; i++)
        {
            long extent = i <= shape.Length ? shape[^i] : 1;
            result[^i] = extent == 1 ? 0 : stride;
            stride *= extent;
        }
    }

    public static StridedLoop Create(ReadOnlySpan<long> shape, ReadOnlySpan<long> a, ReadOnlySpan<long> b, ReadOnlySpan<long> c)
    {
        var loop = new StridedLoop { Operands = c.Length > 0 ? 3 : 2 };
        for (int axis = 0; axis < shape.Length; axis++)
        {
            if (shape[axis] == 1) continue;
            int last = loop.Rank - 1;
            bool merge = last >= 0 && Runs(loop, 0, a, axis, shape, last) && Runs(loop, 1, b, axis, shape, last) && (c.Length == 0 || Runs(loop, 2, c, axis, shape, last));
            if (!merge) last = loop.Rank++;
            loop.extents[last] = merge ? loop.extents[last] * shape[axis] : shape[axis];
            loop.strides[last] = a[axis];
            loop.strides[MaxRank + last] = b[axis];
            if (c.Length > 0) loop.strides[2 * MaxRank + last] = c[axis];
        }

        if (loop.Rank == 0)
        {
            loop.Rank = 1;
            loop.extents[0] = 1;
            for (int i = 0; i < MaxOperands; i++) loop.strides[i * MaxRank] = 1;
        }

        return loop;

        static bool Runs(in StridedLoop loop, int operand, ReadOnlySpan<long> s, int axis, ReadOnlySpan<long> shape, int last) =>
            loop.strides[operand * MaxRank + last] == s[axis] * shape[axis];
    }

    /// <summary>Offset of a row's first element for one operand.</summary>
    public readonly long Offset(int operand, long row)
    {
        long offset = 0;
        for (int a = Rank - 2; a >= 0; a--)
        {
            long q = row / extents[a];
            offset += (row - q * extents[a]) * strides[operand * MaxRank + a];
            row = q;
        }

        return offset;
    }
}
