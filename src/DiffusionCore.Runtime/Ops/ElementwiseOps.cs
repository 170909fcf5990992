namespace DiffusionCore.Runtime;

/// <summary>One function of one number, element by element.</summary>
public sealed record UnaryOp(Unary Function) : Op
{
    public override string Name => Function.ToString().ToLowerInvariant();

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        return new TensorType(x[0].Shape, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(Weight * y.Shape.Count, Traffic(x, y));

    private double Weight => Function is Unary.Relu or Unary.Neg or Unary.Abs or Unary.Sqrt or Unary.Reciprocal or Unary.Square ? 1 : Transcendental;

    /// <summary>The same function as an epilogue, where there is one.</summary>
    public Activation? AsActivation => Function switch
    {
        Unary.Silu => Activation.Silu,
        Unary.Relu => Activation.Relu,
        Unary.Gelu => Activation.Gelu,
        Unary.GeluTanh => Activation.GeluTanh,
        Unary.QuickGelu => Activation.QuickGelu,
        Unary.Sigmoid => Activation.Sigmoid,
        Unary.Tanh => Activation.Tanh,
        _ => null,
    };
}

/// <summary>One function of two numbers with numpy broadcasting.</summary>
public sealed record BinaryOp(Binary Function) : Op
{
    public override string Name => Function.ToString().ToLowerInvariant();

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        return new TensorType(Broadcast(this, x), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) =>
        new((Function == Binary.Pow ? 2 * Transcendental : 1) * y.Shape.Count, Traffic(x, y));
}

/// <summary>y = A x + B with numbers known when recording.</summary>
public sealed record AffineOp(float A, float B) : Op
{
    public override string Name => "affine";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        return new TensorType(x[0].Shape, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(2.0 * y.Shape.Count, Traffic(x, y));
}

/// <summary>The same numbers in another type, rounded to nearest even; integers are truncated toward zero and saturate.</summary>
public sealed record CastOp(DType To) : Op
{
    public override string Name => "cast";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        return new TensorType(x[0].Shape, To);
    }
}
