namespace DiffusionCore.Runtime;

/// <summary>The same elements in the same order under another shape. Moves nothing.</summary>
public sealed record ReshapeOp(Shape To) : Op
{
    public override string Name => "reshape";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(x[0].Shape.Count == To.Count, $"{x[0].Shape.Count} elements do not fit {To}", x);
        return x[0] with { Shape = To };
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => default;
}

/// <summary>y[i_perm0, i_perm1, ...] = x[i0, i1, ...]: output axis a is input axis Axes[a].</summary>
public sealed record TransposeOp(EquatableList<int> Axes) : Op
{
    public override string Name => "transpose";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(Axes.Count == s.Rank && Axes.Order().SequenceEqual(Enumerable.Range(0, s.Rank)), "the axes must be a permutation", x);
        return x[0] with { Shape = new Shape(Axes.Select(a => s[a]).ToArray()) };
    }
}

/// <summary>Operands side by side along one axis.</summary>
public sealed record ConcatOp(int Axis) : Op
{
    public override string Name => "concat";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Require(x.Length > 0, "at least one operand is needed", x);
        var first = x[0].Shape;
        Require(Axis >= 0 && Axis < first.Rank, $"there is no axis {Axis}", x);
        long extent = 0;
        foreach (var t in x)
        {
            Require(t.DType == x[0].DType && t.Shape.Rank == first.Rank && t.Shape.With(Axis, 0) == first.With(Axis, 0), $"the operands differ beyond axis {Axis}", x);
            extent += t.Shape[Axis];
        }

        return x[0] with { Shape = first.With(Axis, extent) };
    }
}

/// <summary>y[i] = x[Start + i*Step] on every axis; Count elements of each. A step may be negative.</summary>
public sealed record SliceOp(EquatableList<long> Start, EquatableList<long> Step, EquatableList<long> Count) : Op
{
    public override string Name => "slice";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(Start.Count == s.Rank && Step.Count == s.Rank && Count.Count == s.Rank, "start, step and count are needed for every axis", x);
        for (int a = 0; a < s.Rank; a++)
        {
            if (Count[a] == 0) continue;
            long last = Start[a] + (Count[a] - 1) * Step[a];
            Require(Count[a] > 0 && Step[a] != 0 && Start[a] >= 0 && Start[a] < s[a] && last >= 0 && last < s[a], $"axis {a} is left by the slice", x);
        }

        return x[0] with { Shape = new Shape(Count.ToArray()) };
    }
}

/// <summary>How a padded border is filled.</summary>
public enum PadMode
{
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// <summary>A border of Before and After elements on every axis.</summary>
public sealed record PadOp(EquatableList<long> Before, EquatableList<long> After, PadMode Mode = PadMode.Constant, float Fill = 0) : Op
{
    public override string Name => "pad";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(Before.Count == s.Rank && After.Count == s.Rank, "before and after are needed for every axis", x);
        var dims = s.ToArray();
        for (int a = 0; a < dims.Length; a++)
        {
            Require(Before[a] >= 0 && After[a] >= 0, $"padding of axis {a} is negative", x);
            bool border = Before[a] + After[a] > 0;
            Require(!border || Mode == PadMode.Constant || s[a] > (Mode == PadMode.Reflect ? Math.Max(Before[a], After[a]) : 0), $"axis {a} is too short for {Mode} padding", x);
            dims[a] += Before[a] + After[a];
        }

        return x[0] with { Shape = new Shape(dims) };
    }
}

/// <summary>Repeats extents of 1 (and missing leading axes) up to a shape.</summary>
public sealed record ExpandOp(Shape To) : Op
{
    public override string Name => "expand";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(Broadcast(this, [x[0], new TensorType(To, x[0].DType)]) == To, $"the operand does not broadcast to {To}", x);
        return x[0] with { Shape = To };
    }
}

/// <summary>Rows of a table. ids: [...] (I32 or I64), table: [V, D], y: [..., D]. An id outside the table is an error at run time.</summary>
public sealed record EmbeddingOp : Op
{
    public override string Name => "embedding";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Require(x[0].DType is DType.I32 or DType.I64 && x[1].Shape.Rank == 2, "ids (i32 or i64) and a table [V, D] are needed", x);
        return new TensorType(new Shape([.. x[0].Shape.ToArray(), x[1].Shape[1]]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(0, x[0].Bytes + 2.0 * y.Bytes);
}
