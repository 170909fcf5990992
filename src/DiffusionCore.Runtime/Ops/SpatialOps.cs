namespace DiffusionCore.Runtime;

/// <summary>Nearest-neighbour resize, channels last: y[i] = x[floor(i * H / OutHeight)].</summary>
public sealed record UpsampleNearestOp(int OutHeight, int OutWidth) : Op
{
    public override string Name => "upsample_nearest";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(x[0].Shape.Rank == 4 && OutHeight > 0 && OutWidth > 0, "x [N, H, W, C] is needed", x);
        return new TensorType(new Shape(x[0].Shape[0], OutHeight, OutWidth, x[0].Shape[3]), DType.F32);
    }
}

/// <summary>Average pooling, channels last. A window reaching past the padded map is cut there.</summary>
/// <param name="CountPadding">Whether padded zeros count in the divisor.</param>
/// <param name="Ceiling">Rounds the output extent up instead of down.</param>
public sealed record AveragePoolOp(
    int KernelH, int KernelW, int StrideH, int StrideW, int PadTop = 0, int PadLeft = 0, int PadBottom = 0, int PadRight = 0,
    bool CountPadding = false, bool Ceiling = false, int DilationH = 1, int DilationW = 1) : Op
{
    public override string Name => "average_pool";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(s.Rank == 4 && KernelH > 0 && KernelW > 0 && StrideH > 0 && StrideW > 0 && DilationH > 0 && DilationW > 0, "x [N, H, W, C] and positive kernel, stride and dilation are needed", x);
        long oh = Extent(s[1], KernelH, StrideH, PadTop, PadBottom, DilationH, Ceiling), ow = Extent(s[2], KernelW, StrideW, PadLeft, PadRight, DilationW, Ceiling);
        Require(oh > 0 && ow > 0, "the window is larger than the padded map", x);
        return new TensorType(new Shape(s[0], oh, ow, s[3]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new((double)KernelH * KernelW * y.Shape.Count, Traffic(x, y));

    internal static long Extent(long size, int kernel, int stride, int before, int after, int dilation, bool ceiling)
    {
        long room = size + before + after - (dilation * (kernel - 1L) + 1);
        if (room < 0) return 0;
        long extent = (ceiling ? (room + stride - 1) / stride : room / stride) + 1;
        return ceiling && (extent - 1) * stride >= size + before ? extent - 1 : extent;   // a window may not start in the far padding
    }
}

/// <summary>
/// Zero-insertion by Up, padding, convolution with a separable kernel, and keeping each Down-th sample, per channel (upfirdn, Karras et al. 2019).
/// The two-dimensional kernel is the outer product of Taps with itself, already normalised. x: [N, H, W, C].
/// </summary>
public sealed record FirResampleOp(EquatableList<float> Taps, int Up, int Down, int PadBefore, int PadAfter) : Op
{
    public override string Name => "fir_resample";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(s.Rank == 4 && Up > 0 && Down > 0 && Taps.Count > 0, "x [N, H, W, C], a kernel and positive factors are needed", x);
        long oh = Extent(s[1]), ow = Extent(s[2]);
        Require(oh > 0 && ow > 0, "the kernel is larger than the padded map", x);
        return new TensorType(new Shape(s[0], oh, ow, s[3]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) =>
        new(2.0 * Taps.Count * Taps.Count / (Up * Up) * y.Shape.Count, Traffic(x, y));

    private long Extent(long size)
    {
        long room = size * Up + PadBefore + PadAfter - Taps.Count;
        return room < 0 ? 0 : room / Down + 1;
    }
}

/// <summary>
/// Sinusoidal embedding of a time or position. t: [N], y: [N, Dim]. Frequencies exp(-ln(MaxPeriod) i / (Dim/2 - Shift)); sin before cos, or
/// after it where Flip is set; an odd Dim ends with a zero.
/// </summary>
public sealed record SinusoidalEmbeddingOp(int Dim, bool Flip, double Shift, double Scale = 1, double MaxPeriod = 10000) : Op
{
    public override string Name => "sinusoidal_embedding";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        Require(x[0].Shape.Rank == 1 && Dim > 1, "t [N] and at least two channels are needed", x);
        return new TensorType(new Shape(x[0].Shape[0], Dim), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new((Transcendental + 1) * y.Shape.Count, Traffic(x, y));
}

/// <summary>Random Fourier features (Song et al. 2021). t: [N], w: [D], y: [N, 2D]: sin and cos of 2 pi w t, of ln t where Log is set.</summary>
public sealed record FourierEmbeddingOp(bool Log, bool Flip) : Op
{
    public override string Name => "fourier_embedding";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 2);
        Require(x[0].Shape.Rank == 1 && x[1].Shape.Rank == 1, "t [N] and w [D] are needed", x);
        return new TensorType(new Shape(x[0].Shape[0], 2 * x[1].Shape[0]), DType.F32);
    }

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new((Transcendental + 2) * y.Shape.Count, Traffic(x, y));
}
