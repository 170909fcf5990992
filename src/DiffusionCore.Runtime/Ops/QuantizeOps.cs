namespace DiffusionCore.Runtime;

/// <summary>The nearest vector of a table by squared distance, the first of equally near ones. x: [..., D], table: [K, D], y: [...] (I64).</summary>
public sealed record NearestCodeOp : Op
{
    public override string Name => "nearest_code";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Shape s = x[0].Shape, table = x[1].Shape;
        Require(s.Rank >= 1 && table.Rank == 2 && s[-1] == table[1] && table[0] > 0, "x [..., D] needs a table [K, D]", x);
        return new TensorType(new Shape(s.ToArray().AsSpan()[..^1]), DType.I64);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(3.0 * x[0].Shape.Count * x[1].Shape[0], Traffic(x, y));
}
