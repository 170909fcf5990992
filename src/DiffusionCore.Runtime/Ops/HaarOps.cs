namespace DiffusionCore.Runtime;

/// <summary>
/// One level of the orthonormal Haar transform, as wavelet diffusion networks have at both ends (Phung et al. 2023): x [N, 2H, 2W, C] to y [N, H, W, 4C],
/// bands LL, LH (differences along rows), HL (differences along columns), HH.
/// </summary>
public sealed record HaarOp : FusedOp
{
    public override string Name => "haar";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(x[0].DType.IsFloat() && s.Rank == 4 && s[1] % 2 == 0 && s[2] % 2 == 0, "a map [N, H, W, C] of even height and width is needed", x);
        return new TensorType(new Shape(s[0], s[1] / 2, s[2] / 2, 4 * s[3]), DType.F32);
    }

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        var s = x[0].Shape;
        var cells = g.Reshape(x[0], s[0], s[1] / 2, 2, s[2] / 2, 2, s[3]);
        var parts = new Value[4];
        for (int i = 0; i < 4; i++) parts[i] = g.Reshape(g.Slice(g.Slice(cells, 2, i / 2, 1), 4, i % 2, 1), s[0], s[1] / 2, s[2] / 2, s[3]);
        return g.Concat(3, Mix(g, parts));
    }

    /// <summary>The four sums with the signs of the transform, halved.</summary>
    internal static Value[] Mix(Graph g, Value[] p)
    {
        Value ab = g.Plus(p[0], p[1]), cd = g.Plus(p[2], p[3]), minus = g.Binary(Kernels.Host.Binary.Sub, p[0], p[1]), other = g.Binary(Kernels.Host.Binary.Sub, p[2], p[3]);
        return [g.Affine(g.Plus(ab, cd), 0.5), g.Affine(g.Plus(minus, other), 0.5), g.Affine(g.Binary(Kernels.Host.Binary.Sub, ab, cd), 0.5), g.Affine(g.Binary(Kernels.Host.Binary.Sub, minus, other), 0.5)];
    }
}

/// <summary>The inverse of <see cref="HaarOp"/>: bands [N, H, W, 4C] to [N, 2H, 2W, C].</summary>
public sealed record InverseHaarOp : FusedOp
{
    public override string Name => "inverse_haar";

    public override TensorType Infer(ReadOnlySpan<TensorType> x)
    {
        Operands(x, 1);
        var s = x[0].Shape;
        Require(x[0].DType.IsFloat() && s.Rank == 4 && s[3] % 4 == 0, "bands [N, H, W, 4C] are needed", x);
        return new TensorType(new Shape(s[0], 2 * s[1], 2 * s[2], s[3] / 4), DType.F32);
    }

    public override Value Unfused(Graph g, ReadOnlySpan<Value> x)
    {
        var s = x[0].Shape;
        long channels = s[3] / 4;
        var bands = new Value[4];
        for (int i = 0; i < 4; i++) bands[i] = g.Slice(x[0], 3, i * channels, channels);
        var parts = Array.ConvertAll(HaarOp.Mix(g, bands), v => g.Reshape(v, s[0], s[1], 1, s[2], 1, channels));
        return g.Reshape(g.Concat(2, g.Concat(4, parts[0], parts[1]), g.Concat(4, parts[2], parts[3])), s[0], 2 * s[1], 2 * s[2], channels);
    }
}
