using DiffusionCore.Kernels;
using DiffusionCore.Runtime;
using ILGPU;
using Shape = DiffusionCore.Runtime.Shape;

namespace DiffusionCore.Gpu;

/// <summary>Operands of a product's epilogue. A view that is not used is the product's own input.</summary>
internal sealed class EpilogueOperands
{
    private readonly Slot bias, channel, residual;

    /// <param name="first">Index of the first operand after x and W.</param>
    public EpilogueOperands(IlgpuBuild build, bool hasBias, EpilogueSpec spec, int first, int rowsPerImage)
    {
        bias = channel = residual = build.Operand(0);
        if (hasBias) bias = build.Operand(first++);
        if (spec.ChannelAdd) channel = build.Operand(first++);
        if (spec.Residual) residual = build.Operand(first);
        Values = new Epilogue
        {
            Bias = hasBias ? 1 : 0, Channel = spec.ChannelAdd ? 1 : 0, Residual = spec.Residual ? 1 : 0, RowsPerImage = Math.Max(1, rowsPerImage),
            Activation = Functions.Of(spec.Activation), Scale = spec.Scale,
        };
    }

    public Epilogue Values { get; }

    public ArrayView<float> Bias => bias.Floats;

    public ArrayView<float> Channel => channel.Floats;

    public ArrayView<float> Residual => residual.Floats;
}

/// <summary>x W^T on packed weights.</summary>
internal sealed class IlgpuLinear : IlgpuImplementation
{
    public override string Name => "linear-4x4";

    public override string? DeclinesWeight(Graph graph, Node node) => IlgpuBuild.SourceOf(graph, node.Inputs[1]) is null ? "W is computed, not stored" : null;

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var (core, spec) = build.Op is FusedLinearOp fused ? (fused.Core, fused.Epilogue) : ((LinearOp)build.Op, EpilogueSpec.None);
        int outputs = (int)build.Shape(1)[0], inputs = (int)build.Shape(1)[1], rows = build.Count / outputs;
        var w = build.Packed(1, outputs, inputs, 1);
        var e = new EpilogueOperands(build, core.Bias, spec, 2, build.Result.Shape.Rank > 1 ? (int)(rows / build.Result.Shape[0]) : rows);
        var shape = new LinearKernel.Shape { Rows = rows, Inputs = inputs, Outputs = outputs };
        var config = build.Device.PerItem(Tiles.Groups(rows, Tiles.ProductRows) * (Tiles.PackedColumns(outputs) / Tiles.ProductColumns));
        var (kernel, x, y) = (build.Kernels.Linear, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, w, e.Bias, e.Channel, e.Residual, y.Floats, shape, e.Values);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Convolution on packed weights.</summary>
internal sealed class IlgpuConvolution : IlgpuImplementation
{
    public override string Name => "direct-4x4";

    public override string? DeclinesWeight(Graph graph, Node node) => IlgpuBuild.SourceOf(graph, node.Inputs[1]) is null ? "W is computed, not stored" : null;

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var (shape, spec, bias) = Read(build);
        var w = build.Packed(1, shape.Outputs, shape.Channels, shape.KernelH * shape.KernelW);
        var e = new EpilogueOperands(build, bias, spec, 2, shape.OutHeight * shape.OutWidth);
        var config = build.Device.PerItem(Tiles.Groups(shape.Pixels, Tiles.ProductRows) * (Tiles.PackedColumns(shape.Outputs) / Tiles.ProductColumns));
        var (kernel, x, y) = (build.Kernels.Convolution, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, w, e.Bias, e.Channel, e.Residual, y.Floats, shape, e.Values);
    }

    internal static (ConvolutionKernels.Shape Shape, EpilogueSpec Epilogue, bool Bias) Read(IlgpuBuild build)
    {
        var (op, spec) = build.Op is FusedConv2dOp fused ? (fused.Core, fused.Epilogue) : ((Conv2dOp)build.Op, EpilogueSpec.None);
        Shape x = build.Shape(0), w = build.Shape(1), y = build.Result.Shape;
        var shape = new ConvolutionKernels.Shape
        {
            Pixels = (int)(y[0] * y[1] * y[2]), Height = (int)x[1], Width = (int)x[2], Channels = (int)x[3], OutHeight = (int)y[1], OutWidth = (int)y[2], Outputs = (int)w[0],
            KernelH = (int)w[2], KernelW = (int)w[3], StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, DilationH = op.DilationH, DilationW = op.DilationW,
            Groups = op.Groups,
        };
        return (shape, spec, op.Bias);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Convolution with channels in groups.</summary>
internal sealed class IlgpuGroupedConvolution : IlgpuImplementation
{
    public override string Name => "grouped";

    public override string? DeclinesWeight(Graph graph, Node node) => IlgpuBuild.SourceOf(graph, node.Inputs[1]) is null ? "W is computed, not stored" : null;

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var (shape, spec, bias) = IlgpuConvolution.Read(build);
        var w = build.Packed(1, shape.Outputs, shape.Channels / shape.Groups, shape.KernelH * shape.KernelW).Cast<float>();
        var e = new EpilogueOperands(build, bias, spec, 2, shape.OutHeight * shape.OutWidth);
        var (config, kernel, x, y) = (build.Device.PerItem(build.Count), build.Kernels.GroupedConvolution, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, w, e.Bias, e.Channel, e.Residual, y.Floats, shape, e.Values);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Transposed convolution; weights in the order of their file.</summary>
internal sealed class IlgpuTransposedConvolution : IlgpuImplementation
{
    public override string Name => "transposed";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (ConvTranspose2dOp)build.Op;
        Shape x = build.Shape(0), w = build.Shape(1), y = build.Result.Shape;
        var shape = new ConvolutionKernels.Shape
        {
            Pixels = (int)(y[0] * y[1] * y[2]), Height = (int)x[1], Width = (int)x[2], Channels = (int)x[3], OutHeight = (int)y[1], OutWidth = (int)y[2], Outputs = (int)y[3],
            KernelH = (int)w[2], KernelW = (int)w[3], StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, DilationH = op.DilationH, DilationW = op.DilationW,
            Groups = op.Groups,
        };
        var (config, kernel, source, weights, bias, target) =
            (build.Device.PerItem(build.Count), build.Kernels.TransposedConvolution, build.Operand(0), build.Operand(1), build.Operand(op.Bias ? 2 : 0), build.Output());
        return () => kernel(config, source.Floats, weights.Floats, bias.Floats, target.Floats, shape, op.Bias ? 1 : 0);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Batched product of two computed matrices.</summary>
internal sealed class IlgpuMatMul : IlgpuImplementation
{
    public override string Name => "matmul";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (MatMulOp)build.Op;
        long[] a = build.Shape(0).ToArray(), b = build.Shape(1).ToArray(), lead = build.Result.Shape.ToArray()[..^2];
        var shape = new MatMulKernel.Shape
        {
            Count = build.Count, M = (int)build.Result.Shape[-2], N = (int)build.Result.Shape[-1], K = (int)(op.TransposeA ? a[^2] : a[^1]),
            RowA = op.TransposeA ? 1 : (int)a[^1], InnerA = op.TransposeA ? (int)a[^1] : 1, InnerB = op.TransposeB ? 1 : (int)b[^1], ColumnB = op.TransposeB ? (int)b[^1] : 1,
            Lead = Strides.Create(lead, StridedView.Broadcast(a[..^2], lead, a[^1] * a[^2]), StridedView.Broadcast(b[..^2], lead, b[^1] * b[^2])),
        };
        var (config, kernel, x, w, y) = (build.Device.PerItem(build.Count), build.Kernels.MatMul, build.Operand(0), build.Operand(1), build.Output());
        return () => kernel(config, x.Floats, w.Floats, y.Floats, shape);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Attention, one query per group.</summary>
internal sealed class IlgpuAttention : IlgpuImplementation
{
    public override string Name => "online-softmax";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (AttentionOp)build.Op;
        Shape q = build.Shape(0), k = build.Shape(1), v = build.Shape(2);
        var shape = new AttentionKernel.Shape
        {
            Heads = op.Heads, Queries = (int)q[1], Keys = (int)k[1], HeadDim = (int)(q[2] / op.Heads), ValueDim = (int)(v[2] / op.Heads), Causal = op.Causal ? 1 : 0,
            Masked = op.Mask ? 1 : 0, Scale = op.Scale,
        };
        if (op.Mask)
        {
            long[] full = [q[0], op.Heads, q[1], k[1]], s = StridedView.Broadcast(build.Shape(3).ToArray(), full);
            (shape.MaskBatch, shape.MaskHead, shape.MaskRow, shape.MaskKey) = ((int)s[0], (int)s[1], (int)s[2], (int)s[3]);
        }

        var config = build.Device.PerGroup(q[0] * op.Heads * q[1]);
        var (kernel, a, b, c, mask, y) = (build.Kernels.Attention, build.Operand(0), build.Operand(1), build.Operand(2), build.Operand(op.Mask ? 3 : 0), build.Output());
        return () => kernel(config, a.Floats, b.Floats, c.Floats, mask.Floats, y.Floats, shape);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}
