namespace DiffusionCore.Runtime;

/// <summary>
/// The gradient of <see cref="GroupNormOp"/> with respect to x. Operands: x, dy (both [N, ..., C]), [gamma [C]]; the result has the shape of x.
/// With g = dy*gamma, z = (x - mu)/s, s = sqrt(var + eps) and means over one group of one image: dx = (g - mean(g) - z*mean(g*z))/s.
/// </summary>
public sealed record GroupNormGradientOp(int Groups, float Epsilon, bool Affine) : Op
{
    public override string Name => "group_norm_gradient";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Affine ? 3 : 2);
        var s = x[0].Shape;
        Require(s.Rank >= 2 && x[1].Shape == s, "x and dy [N, ..., C] are needed", x);
        Require(Groups > 0 && s[-1] % Groups == 0, $"{Groups} groups do not divide {s[-1]} channels", x);
        Require(!Affine || x[2].Shape == new Shape(s[-1]), "gamma needs shape [C]", x);
        return new TensorType(s, DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(14.0 * y.Shape.Count, Traffic(x, y));
}
