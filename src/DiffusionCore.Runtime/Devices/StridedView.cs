namespace DiffusionCore.Runtime;

/// <summary>How a dense array is read as another shape, without a copy: in elements, the first one's place and one stride for each axis of the result.</summary>
public readonly record struct StridedView(long Offset, long[] Strides)
{
    /// <summary>The view that a permutation, slice or broadcast takes of its operand.</summary>
    /// <param name="op">Transpose, slice or expand.</param>
    public static StridedView Of(Op op, Shape from, Shape to)
    {
        long[] dense = Dense(from), strides = new long[to.Rank];
        long offset = 0;
        switch (op)
        {
            case TransposeOp transpose:
                for (int a = 0; a < strides.Length; a++) strides[a] = dense[transpose.Axes[a]];
                break;
            case SliceOp slice:
                for (int a = 0; a < strides.Length; a++)
                {
                    strides[a] = dense[a] * slice.Step[a];
                    offset += slice.Start[a] * dense[a];
                }

                break;
            case ExpandOp:
                strides = Broadcast(from.ToArray(), to.ToArray());
                break;
            default:
                throw new ArgumentException($"{op.GetType().Name} is no view of its operand", nameof(op));
        }

        return new StridedView(offset, strides);
    }

    public static long[] Dense(Shape shape)
    {
        var strides = new long[shape.Rank];
        long stride = 1;
        for (int a = shape.Rank - 1; a >= 0; a--)
        {
            strides[a] = stride;
            stride *= shape[a];
        }

        return strides;
    }

    /// <summary>Strides of a dense array over a shape it is repeated to: 0 where an extent of 1, or a missing leading axis, is repeated.</summary>
    /// <param name="unit">Stride of the last axis.</param>
    public static long[] Broadcast(ReadOnlySpan<long> shape, ReadOnlySpan<long> to, long unit = 1)
    {
        var strides = new long[to.Length];
        StridedLoop.Broadcast(shape, to, strides, unit);
        return strides;
    }
}
