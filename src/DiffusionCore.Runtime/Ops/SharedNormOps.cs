namespace DiffusionCore.Runtime;

/// <summary>
/// Mean and biased variance of each group of channels over a rectangle of the map. x: [N, H, W, C], area: [4] (first row, row after the last, first
/// column, column after the last; in pixels of a map that is Scale times smaller), y: [N, Groups, 2].
/// </summary>
public sealed record GroupMomentsOp(int Groups, int Scale = 1) : Op
{
    public override string Name => "group_moments";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        var s = x[0].Shape;
        Require(s.Rank == 4 && x[1].Shape == new Shape(4) && Scale > 0, "x [N, H, W, C] and an area [4] are needed", x);
        Require(Groups > 0 && s[3] % Groups == 0, $"{Groups} groups do not divide {s[3]} channels", x);
        return new TensorType(new Shape(s[0], Groups, 2), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(3.0 * x[0].Shape.Count, Traffic(x, y));

    /// <summary>The rectangle in pixels of a map of this size; inside it whatever was asked for, and never empty.</summary>
    internal (int Top, int Bottom, int Left, int Right) Rectangle(ReadOnlySpan<float> area, long height, long width)
    {
        int top = (int)Math.Clamp(area[0] * Scale, 0, height - 1), left = (int)Math.Clamp(area[2] * Scale, 0, width - 1);
        return (top, (int)Math.Clamp(area[1] * Scale, top + 1, height), left, (int)Math.Clamp(area[3] * Scale, left + 1, width));
    }
}

/// <summary>
/// Group normalisation with statistics from elsewhere, then an activation. Operands: x [N, ..., C], moments [N, Groups, 2] (mean, biased variance),
/// [gamma, beta].
/// </summary>
public sealed record GivenGroupNormOp(GroupNormOp Core, Activation Activation) : Op
{
    public override string Name => "given_group_norm" + (Activation == Activation.None ? "" : "+" + Activation.ToString().ToLowerInvariant());

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Core.Affine ? 4 : 2);
        Require(x[1].Shape == new Shape(x[0].Shape[0], Core.Groups, 2), "moments [N, groups, 2] are needed", x);
        return Core.Infer(Core.Affine ? [x[0], x[2], x[3]] : [x[0]]);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new((3 + (Activation == Activation.None ? 0 : Transcendental)) * y.Shape.Count, Traffic(x, y));
}
