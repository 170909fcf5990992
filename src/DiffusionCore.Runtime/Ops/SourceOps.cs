namespace DiffusionCore.Runtime;

/// <summary>A tensor bound by the caller.</summary>
public sealed record InputOp(string InputName) : Op
{
    public override string Name => "input";

    public override TensorType Infer(ReadOnlySpan<TensorType> x) => throw new InvalidOperationException("inputs are declared with a type");

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => default;
}

/// <summary>A tensor of the model's file.</summary>
public sealed record WeightOp(IWeightSource Source) : Op
{
    public override string Name => "weight";

    public override TensorType Infer(ReadOnlySpan<TensorType> x) => Source.Type;

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => default;
}

/// <summary>Numbers known when recording.</summary>
public sealed record ConstantOp(float[] Data) : Op
{
    public override string Name => "constant";

    public override TensorType Infer(ReadOnlySpan<TensorType> x) => new(new Shape(Data.Length), DType.F32);

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => default;
}
