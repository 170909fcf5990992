namespace DiffusionCore.Runtime;

/// <summary>
/// Which tokens go into which (Bolya and Hoffman 2023): alike [N, S, T] (F32) scores S sources against T targets, y: [N, S] (I32). A source's best target is
/// the first with the largest score; the Count sources with the largest best scores (of equal ones the first) have their target's number in y, and the
/// others T, T + 1, ... in their order: y is where each source is found after <see cref="TokenMergeOp"/>.
/// </summary>
public sealed record TokenMatchOp(long Count) : Op
{
    public override string Name => "token_match";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(x[0].DType == DType.F32 && s.Rank == 3 && s[2] > 0, "scores [N, S, T] (f32) are needed", x);
        Require(Count >= 0 && Count <= s[1], $"{Count} of {s[1]} sources cannot be merged", x);
        return new TensorType(new Shape(s[0], s[1]), DType.I32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(x[0].Shape.Count, Traffic(x, y));
}

/// <summary>
/// Tokens with their merged sources: x: [N, Targets + S, C], targets first; map: [N, S] as <see cref="TokenMatchOp"/> gives it with this Count;
/// y: [N, Targets + S - Count, C]. A target is the mean of itself and the sources that went into it.
/// </summary>
public sealed record TokenMergeOp(long Targets, long Count) : Op
{
    public override string Name => "token_merge";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Shape s = x[0].Shape, map = x[1].Shape;
        Require(x[0].DType == DType.F32 && x[1].DType == DType.I32 && s.Rank == 3 && map.Rank == 2 && map[0] == s[0] && map[1] + Targets == s[1], $"x [N, {Targets} + S, C] (f32) and a map [N, S] (i32) are needed", x);
        Require(Count >= 0 && Count <= map[1], $"{Count} of {map[1]} sources cannot be merged", x);
        return x[0] with { Shape = s.With(1, s[1] - Count) };
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(x[0].Shape.Count, Traffic(x, y));
}

/// <summary>The way back: y: [N, Targets + S, C], where sources have the values of what they are found in. x: [N, Targets + S - Count, C], map: [N, S].</summary>
public sealed record TokenUnmergeOp(long Targets) : Op
{
    public override string Name => "token_unmerge";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Shape s = x[0].Shape, map = x[1].Shape;
        Require(x[0].DType == DType.F32 && x[1].DType == DType.I32 && s.Rank == 3 && map.Rank == 2 && map[0] == s[0] && s[1] >= Targets && s[1] <= Targets + map[1], $"x [N, {Targets} or more, C] (f32) and a map [N, S] (i32) are needed", x);
        return x[0] with { Shape = s.With(1, Targets + map[1]) };
    }
}
