namespace DiffusionCore.Runtime;

/// <summary>
/// The vector at the end of each text. x: [N, T, C], ids: [N, T] (I32 or I64), y: [N, C]: x at the first place where the id is EndOfText (place 0
/// where it is nowhere), or, with EndOfText -1, at the first place of the largest id.
/// </summary>
public sealed record PickTokenOp(long EndOfText) : Op
{
    public override string Name => "pick_token";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Shape s = x[0].Shape, ids = x[1].Shape;
        Require(s.Rank == 3 && ids == new Shape(s[0], s[1]) && s[1] > 0 && x[1].DType is DType.I32 or DType.I64, "x [N, T, C] and ids [N, T] (i32 or i64) are needed", x);
        return new TensorType(new Shape(s[0], s[2]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(0, x[1].Bytes + 2.0 * y.Bytes);
}
