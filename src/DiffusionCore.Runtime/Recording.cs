namespace DiffusionCore.Runtime;

/// <summary>The vocabulary in which models are written.</summary>
public static class Recording
{
    public static Value Linear(this Graph g, Value x, Value w, Value? b = null) =>
        b is { } bias ? g.Add(new LinearOp(true), x, w, bias) : g.Add(new LinearOp(false), x, w);

    public static Value Conv2d(this Graph g, Value x, Value w, Value? b, Conv2dOp op) =>
        b is { } bias ? g.Add(op with { Bias = true }, x, w, bias) : g.Add(op with { Bias = false }, x, w);

    public static Value ConvTranspose2d(this Graph g, Value x, Value w, Value? b, ConvTranspose2dOp op) =>
        b is { } bias ? g.Add(op with { Bias = true }, x, w, bias) : g.Add(op with { Bias = false }, x, w);

    public static Value MatMul(this Graph g, Value a, Value b, bool transposeA = false, bool transposeB = false) =>
        g.Add(new MatMulOp(transposeA, transposeB), a, b);

    public static Value GroupNorm(this Graph g, Value x, Value gamma, Value beta, int groups, double epsilon) =>
        g.Add(new GroupNormOp(groups, (float)epsilon), x, gamma, beta);

    public static Value Attention(this Graph g, Value q, Value k, Value v, int heads, double scale, bool causal = false, Value? mask = null) =>
        mask is { } m
            ? g.Add(new AttentionOp(heads, (float)scale, causal, true), q, k, v, m)
            : g.Add(new AttentionOp(heads, (float)scale, causal), q, k, v);

    public static Value Unary(this Graph g, Unary function, Value x) => g.Add(new UnaryOp(function), x);

    public static Value Silu(this Graph g, Value x) => g.Add(new UnaryOp(Kernels.Host.Unary.Silu), x);

    public static Value Binary(this Graph g, Binary function, Value a, Value b) => g.Add(new BinaryOp(function), a, b);

    public static Value Plus(this Graph g, Value a, Value b) => g.Add(new BinaryOp(Kernels.Host.Binary.Add), a, b);

    public static Value Times(this Graph g, Value a, Value b) => g.Add(new BinaryOp(Kernels.Host.Binary.Mul), a, b);

    public static Value Affine(this Graph g, Value x, double a, double b = 0) => a == 1 && b == 0 ? x : g.Add(new AffineOp((float)a, (float)b), x);

    public static Value Softmax(this Graph g, Value x) => g.Add(new SoftmaxOp(), x);

    public static Value Reshape(this Graph g, Value x, params ReadOnlySpan<long> dims) => x.Shape == new Shape(dims) ? x : g.Add(new ReshapeOp(new Shape(dims)), x);

    public static Value Transpose(this Graph g, Value x, params ReadOnlySpan<int> axes) => g.Add(new TransposeOp(EquatableList.Create(axes)), x);

    public static Value Concat(this Graph g, int axis, params ReadOnlySpan<Value> parts) =>
        parts.Length == 1 ? parts[0] : g.Add(new ConcatOp(axis < 0 ? axis + parts[0].Shape.Rank : axis), parts);

    /// <summary>Elements [start, start + count) of one axis.</summary>
    public static Value Slice(this Graph g, Value x, int axis, long start, long count)
    {
        int rank = x.Shape.Rank, at = axis < 0 ? axis + rank : axis;
        var (starts, steps, counts) = (new long[rank], new long[rank], x.Shape.ToArray());
        Array.Fill(steps, 1);
        starts[at] = start;
        counts[at] = count;
        return g.Add(new SliceOp(new(starts), new(steps), new(counts)), x);
    }

    public static Value Expand(this Graph g, Value x, Shape to) => x.Shape == to ? x : g.Add(new ExpandOp(to), x);

    public static Value Embedding(this Graph g, Value ids, Value table) => g.Add(new EmbeddingOp(), ids, table);

    /// <summary>Numbers of the nearest rows of a table: x [..., D], table [K, D].</summary>
    public static Value NearestCode(this Graph g, Value x, Value table) => g.Add(new NearestCodeOp(), x, table);

    public static Value UpsampleNearest(this Graph g, Value x, int height, int width) => g.Add(new UpsampleNearestOp(height, width), x);

    /// <summary>Bilinear resize; <see cref="ResizeOp"/> has the other modes and conventions.</summary>
    public static Value ResizeLinear(this Graph g, Value x, int height, int width, bool alignCorners = false) =>
        g.Add(new ResizeOp(height, width, ResizeMode.Linear, alignCorners ? ResizeCoordinates.AlignCorners : ResizeCoordinates.HalfPixel), x);

    /// <summary>Instance normalisation: group normalisation with a group per channel.</summary>
    public static Value InstanceNorm(this Graph g, Value x, Value gamma, Value beta, double epsilon) => g.GroupNorm(x, gamma, beta, checked((int)x.Shape[-1]), epsilon);

    public static Value MaxPool(this Graph g, Value x, int kernel, int stride) => g.Add(new MaxPoolOp(kernel, kernel, stride, stride), x);

    /// <summary>Mean of every pixel: [N, H, W, C] to [N, 1, 1, C].</summary>
    public static Value GlobalAveragePool(this Graph g, Value x) => g.Add(new AveragePoolOp(checked((int)x.Shape[1]), checked((int)x.Shape[2]), 1, 1), x);

    public static Value AveragePool(this Graph g, Value x, int kernel, int stride) => g.Add(new AveragePoolOp(kernel, kernel, stride, stride), x);

    /// <summary>One level of the Haar transform: [N, 2H, 2W, C] to [N, H, W, 4C].</summary>
    public static Value Haar(this Graph g, Value x) => g.Add(new HaarOp(), x);

    /// <summary>The inverse of <see cref="Haar"/>.</summary>
    public static Value InverseHaar(this Graph g, Value bands) => g.Add(new InverseHaarOp(), bands);

    public static Value Cast(this Graph g, Value x, DType to) => x.DType == to ? x : g.Add(new CastOp(to), x);

    /// <summary>[N, C, H, W] as files and callers have it, to [N, H, W, C] as the engine works on it.</summary>
    public static Value ToChannelsLast(this Graph g, Value x) => g.Transpose(x, 0, 2, 3, 1);

    /// <summary>[N, H, W, C] back to [N, C, H, W].</summary>
    public static Value ToChannelsFirst(this Graph g, Value x) => g.Transpose(x, 0, 3, 1, 2);
}
