namespace DiffusionCore.Runtime;

/// <summary>y = x W^T + b. x: [..., K], W: [N, K] (torch order), b: [N].</summary>
public sealed record LinearOp(bool Bias) : Op
{
    public override string Name => "linear";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Bias ? 3 : 2);
        Require(x[0].Shape.Rank >= 1 && x[1].Shape.Rank == 2 && x[0].Shape[-1] == x[1].Shape[1], "x [..., K] needs W [N, K]", x);
        Require(!Bias || x[2].Shape == new Shape(x[1].Shape[0]), "the bias needs shape [N]", x);
        return new TensorType(x[0].Shape.With(-1, x[1].Shape[0]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) =>
        new(2.0 * y.Shape.Count * x[1].Shape[1] + (Bias ? y.Shape.Count : 0), Traffic(x, y));
}

/// <summary>y = a b over the last two axes, leading axes broadcast; either operand may be read transposed.</summary>
public sealed record MatMulOp(bool TransposeA, bool TransposeB) : Op
{
    public override string Name => "matmul";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Require(x[0].Shape.Rank >= 2 && x[1].Shape.Rank >= 2, "operands need rank 2 or more", x);
        var (m, ka) = Extents(x[0].Shape, TransposeA);
        var (kb, n) = Extents(x[1].Shape, TransposeB);
        Require(ka == kb, $"inner extents {ka} and {kb} differ", x);
        var batch = Broadcast(this, [Lead(x[0]), Lead(x[1])]).ToArray();
        return new TensorType(new Shape([.. batch, m, n]), DType.F32);

        static (long, long) Extents(Shape s, bool transposed) => transposed ? (s[-1], s[-2]) : (s[-2], s[-1]);
        static TensorType Lead(TensorType t) => t with { Shape = new Shape(t.Shape.ToArray().AsSpan()[..^2]) };
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) =>
        new(2.0 * y.Shape.Count * (TransposeA ? x[0].Shape[-2] : x[0].Shape[-1]), Traffic(x, y));
}

/// <summary>
/// 2-D convolution, channels last. x: [N, H, W, C], W: [O, C/Groups, kh, kw] (torch order), b: [O], y: [N, OH, OW, O].
/// Padding is given per side, so asymmetric padding needs no separate op.
/// </summary>
public sealed record Conv2dOp(
    bool Bias, int StrideH = 1, int StrideW = 1, int PadTop = 0, int PadLeft = 0, int PadBottom = 0, int PadRight = 0,
    int DilationH = 1, int DilationW = 1, int Groups = 1) : Op
{
    public override string Name => "conv2d";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Bias ? 3 : 2);
        Shape s = x[0].Shape, w = x[1].Shape;
        Require(s.Rank == 4 && w.Rank == 4, "x [N, H, W, C] and W [O, C/groups, kh, kw] are needed", x);
        Require(StrideH > 0 && StrideW > 0 && DilationH > 0 && DilationW > 0 && Groups > 0, "stride, dilation and groups must be positive", x);
        Require(s[3] % Groups == 0 && w[0] % Groups == 0 && w[1] == s[3] / Groups, $"channels {s[3]} in {Groups} groups do not fit W", x);
        Require(!Bias || x[2].Shape == new Shape(w[0]), "the bias needs shape [O]", x);
        long oh = Extent(s[1], w[2], StrideH, PadTop + PadBottom, DilationH);
        long ow = Extent(s[2], w[3], StrideW, PadLeft + PadRight, DilationW);
        Require(oh > 0 && ow > 0, "the kernel is larger than the padded map", x);
        return new TensorType(new Shape(s[0], oh, ow, w[0]), DType.F32);

        static long Extent(long size, long kernel, int stride, int pad, int dilation)
        {
            long room = size + pad - (dilation * (kernel - 1) + 1);
            return room < 0 ? 0 : room / stride + 1;
        }
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y)
    {
        var w = x[1].Shape;
        return new(2.0 * y.Shape.Count * w[1] * w[2] * w[3] + (Bias ? y.Shape.Count : 0), Traffic(x, y));
    }
}

/// <summary>
/// softmax(scale * q k^T + mask) v per head. q: [B, Q, H*D], k: [B, K, H*D], v: [B, K, H*E], y: [B, Q, H*E]; heads lie side by side in the
/// channels. The mask, where there is one, is additive and broadcasts to [B, H, Q, K]. Causal: query i sees keys 0..i.
/// </summary>
public sealed record AttentionOp(int Heads, float Scale, bool Causal = false, bool Mask = false) : Op
{
    public override string Name => "attention";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, Mask ? 4 : 3);
        Shape q = x[0].Shape, k = x[1].Shape, v = x[2].Shape;
        Require(q.Rank == 3 && k.Rank == 3 && v.Rank == 3, "q, k, v need rank 3", x);
        Require(q[0] == k[0] && k[0] == v[0] && k[1] == v[1] && q[2] == k[2], "q [B, Q, C], k [B, K, C], v [B, K, E] do not fit", x);
        Require(Heads > 0 && q[2] % Heads == 0 && v[2] % Heads == 0, $"{Heads} heads do not divide the channels", x);
        if (Mask)
        {
            var full = new Shape(q[0], Heads, q[1], k[1]);
            Require(Broadcast(this, [x[3], new TensorType(full, DType.F32)]) == full, $"the mask does not broadcast to {full}", x);
        }

        return new TensorType(new Shape(q[0], q[1], v[2]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y)
    {
        Shape q = x[0].Shape, k = x[1].Shape, v = x[2].Shape;
        double pairs = (double)q[0] * q[1] * k[1];
        return new(2 * pairs * (q[2] + v[2]) + pairs * Heads * (Transcendental + 3), Traffic(x, y));
    }
}
