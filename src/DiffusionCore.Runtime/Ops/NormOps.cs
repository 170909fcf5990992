namespace DiffusionCore.Runtime;

/// <summary>
/// Group normalisation over the last axis in groups (Wu and He 2018). x: [N, ..., C], gamma, beta: [C].
/// Mean and variance (biased) are taken over one group of one image.
/// </summary>
public sealed record GroupNormOp(int Groups, float Epsilon, bool Affine = true) : Op
{
    public override string Name => "group_norm";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Affine ? 3 : 1);
        var s = x[0].Shape;
        Require(s.Rank >= 2, "x [N, ..., C] is needed", x);
        Require(Groups > 0 && s[-1] % Groups == 0, $"{Groups} groups do not divide {s[-1]} channels", x);
        Require(!Affine || (x[1].Shape == new Shape(s[-1]) && x[2].Shape == x[1].Shape), "gamma and beta need shape [C]", x);
        return new TensorType(s, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(7.0 * y.Shape.Count, Traffic(x, y));
}

/// <summary>Layer normalisation over the last axis (Ba et al. 2016). x: [..., C], gamma, beta: [C].</summary>
public sealed record LayerNormOp(float Epsilon, bool Affine = true) : Op
{
    public override string Name => "layer_norm";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Affine ? 3 : 1);
        Require(x[0].Shape.Rank >= 1, "x [..., C] is needed", x);
        Require(!Affine || (x[1].Shape == new Shape(x[0].Shape[-1]) && x[2].Shape == x[1].Shape), "gamma and beta need shape [C]", x);
        return new TensorType(x[0].Shape, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(7.0 * y.Shape.Count, Traffic(x, y));
}

/// <summary>
/// Division by the root of the mean square over the last axis (Zhang and Sennrich 2019), then * gamma where Affine is set. x: [..., C], gamma: [C].
/// Epsilon is added to the mean square, or to its root where Outside is set.
/// </summary>
public sealed record RmsNormOp(float Epsilon, bool Affine = true, bool Outside = false) : Op
{
    public override string Name => "rms_norm";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Affine ? 2 : 1);
        Require(x[0].Shape.Rank >= 1, "x [..., C] is needed", x);
        Require(!Affine || x[1].Shape == new Shape(x[0].Shape[-1]), "gamma needs shape [C]", x);
        return new TensorType(x[0].Shape, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(4.0 * y.Shape.Count, Traffic(x, y));
}

/// <summary>softmax over the last axis.</summary>
public sealed record SoftmaxOp : Op
{
    public override string Name => "softmax";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(x[0].Shape.Rank >= 1, "an axis is needed", x);
        return new TensorType(x[0].Shape, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new((Transcendental + 3) * y.Shape.Count, Traffic(x, y));
}
