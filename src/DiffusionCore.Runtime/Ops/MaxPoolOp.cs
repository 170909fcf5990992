namespace DiffusionCore.Runtime;

/// <summary>Largest value of a window, channels last; the border never wins. x: [N, H, W, C].</summary>
/// <param name="Ceiling">Rounds the output extent up instead of down.</param>
public sealed record MaxPoolOp(
    int KernelH, int KernelW, int StrideH, int StrideW, int PadTop = 0, int PadLeft = 0, int PadBottom = 0, int PadRight = 0,
    int DilationH = 1, int DilationW = 1, bool Ceiling = false) : Op
{
    public override string Name => "max_pool";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(s.Rank == 4 && KernelH > 0 && KernelW > 0 && StrideH > 0 && StrideW > 0 && DilationH > 0 && DilationW > 0, "x [N, H, W, C] and positive kernel, stride and dilation are needed", x);
        long oh = AveragePoolOp.Extent(s[1], KernelH, StrideH, PadTop, PadBottom, DilationH, Ceiling), ow = AveragePoolOp.Extent(s[2], KernelW, StrideW, PadLeft, PadRight, DilationW, Ceiling);
        Require(oh > 0 && ow > 0, "the window is larger than the padded map", x);
        return new TensorType(new Shape(s[0], oh, ow, s[3]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new((double)KernelH * KernelW * y.Shape.Count, Traffic(x, y));
}
