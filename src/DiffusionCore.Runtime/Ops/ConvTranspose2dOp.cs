namespace DiffusionCore.Runtime;

/// <summary>
/// Transposed 2-D convolution, channels last: the gradient of a strided convolution with respect to its input. x: [N, H, W, C],
/// W: [C, O/Groups, kh, kw] (torch order), b: [O], y: [N, OH, OW, O] with OH = (H - 1)*StrideH - PadTop - PadBottom + DilationH*(kh - 1) + 1 + OutputPadH.
/// </summary>
/// <param name="OutputPadH">Rows added below beyond what the kernel reaches, which a strided convolution would have dropped.</param>
public sealed record ConvTranspose2dOp(
    bool Bias, int StrideH = 1, int StrideW = 1, int PadTop = 0, int PadLeft = 0, int PadBottom = 0, int PadRight = 0, int OutputPadH = 0, int OutputPadW = 0,
    int DilationH = 1, int DilationW = 1, int Groups = 1) : Op
{
    public override string Name => "conv_transpose2d";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Bias ? 3 : 2);
        Shape s = x[0].Shape, w = x[1].Shape;
        Require(s.Rank == 4 && w.Rank == 4, "x [N, H, W, C] and W [C, O/groups, kh, kw] are needed", x);
        Require(StrideH > 0 && StrideW > 0 && DilationH > 0 && DilationW > 0 && Groups > 0, "stride, dilation and groups must be positive", x);
        Require(s[3] % Groups == 0 && w[0] == s[3], $"channels {s[3]} in {Groups} groups do not fit W", x);
        long outputs = w[1] * Groups;
        Require(!Bias || x[2].Shape == new Shape(outputs), "the bias needs shape [O]", x);
        long oh = (s[1] - 1) * StrideH - PadTop - PadBottom + DilationH * (w[2] - 1) + 1 + OutputPadH;
        long ow = (s[2] - 1) * StrideW - PadLeft - PadRight + DilationW * (w[3] - 1) + 1 + OutputPadW;
        Require(s[1] > 0 && s[2] > 0 && oh > 0 && ow > 0, "nothing is left inside the padding", x);
        return new TensorType(new Shape(s[0], oh, ow, outputs), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y)
    {
        var w = x[1].Shape;
        return new(2.0 * x[0].Shape.Count * w[1] * w[2] * w[3] + (Bias ? y.Shape.Count : 0), Traffic(x, y));
    }
}
