using DiffusionCore.Kernels;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

internal sealed class IlgpuUnary : IlgpuImplementation
{
    public override string Name => "elementwise";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int function = Functions.Of(((UnaryOp)build.Op).Function)!.Value, count = build.Count;
        var (config, kernel, x, y) = (build.Device.PerItem(count), build.Kernels.Unary, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, count, function);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) =>
        NeedsF32(node, operands) ?? (Functions.Of(((UnaryOp)node.Op).Function) is null ? $"no kernel has {node.Op.Name}" : null);
}

internal sealed class IlgpuAffine : IlgpuImplementation
{
    public override string Name => "elementwise";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (AffineOp)build.Op;
        int count = build.Count;
        var (config, kernel, x, y) = (build.Device.PerItem(count), build.Kernels.Affine, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, count, op.A, op.B);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuBinary : IlgpuImplementation
{
    public override string Name => "broadcast";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int function = Functions.Of(((BinaryOp)build.Op).Function)!.Value, count = build.Count;
        long[] to = build.Result.Shape.ToArray();
        var strides = Strides.Create(to, StridedView.Broadcast(build.Shape(0).ToArray(), to), StridedView.Broadcast(build.Shape(1).ToArray(), to));
        var (config, kernel, a, b, y) = (build.Device.PerItem(count), build.Kernels.Binary, build.Operand(0), build.Operand(1), build.Output());
        return () => kernel(config, a.Floats, b.Floats, y.Floats, count, function, strides);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) =>
        NeedsF32(node, operands) ?? (Functions.Of(((BinaryOp)node.Op).Function) is null ? $"no kernel has {node.Op.Name}" : null);
}

internal sealed class IlgpuGeglu : IlgpuImplementation
{
    public override string Name => "elementwise";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int half = (int)build.Result.Shape[-1], count = build.Count;
        var (config, kernel, x, y) = (build.Device.PerItem(count), build.Kernels.Geglu, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, count, half);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Between F32 and I32, I64, F16, BF16.</summary>
internal sealed class IlgpuCast : IlgpuImplementation
{
    public override string Name => "by-bits";

    // A weight lies in memory as F32: what that needs, if anything, the reference does.
    public override string? DeclinesWeight(Graph graph, Node node) => IlgpuBuild.SourceOf(graph, node.Inputs[0]) is null ? null : "the operand is a stored weight";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int count = build.Count;
        var (config, kernels, x, y) = (build.Device.PerItem(count), build.Kernels, build.Operand(0), build.Output());
        switch (build.Type(0).DType, build.Result.DType)
        {
            case (DType.I32, DType.F32):
                var fromInt = kernels.FromInt;
                return () => fromInt(config, x.As<int>(), y.Floats, count);
            case (DType.I64, DType.F32):
                var fromLong = kernels.FromLong;
                return () => fromLong(config, x.As<long>(), y.Floats, count);
            case (DType.F16 or DType.BF16, DType.F32):
                var fromHalf = kernels.FromHalf;
                int wide = build.Type(0).DType == DType.BF16 ? 1 : 0;
                return () => fromHalf(config, x.As<ushort>(), y.Floats, count, wide);
            default:
                var toHalf = kernels.ToHalf;
                int narrow = build.Result.DType == DType.BF16 ? 1 : 0;
                return () => toHalf(config, x.Floats, y.As<ushort>(), count, narrow);
        }
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => (operands[0].DType, node.Type.DType) switch
    {
        (DType.I32 or DType.I64 or DType.F16 or DType.BF16, DType.F32) or (DType.F32, DType.F16 or DType.BF16) => null,
        var (from, to) => $"{from} to {to}",
    };
}

internal sealed class IlgpuSinusoidal : IlgpuImplementation
{
    public override string Name => "double-float";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (SinusoidalEmbeddingOp)build.Op;
        int images = (int)build.Shape(0)[0], half = op.Dim / 2;
        float[] high = new float[half], low = new float[half];
        for (int i = 0; i < half; i++)
        {
            double frequency = op.Scale * Math.Exp(-Math.Log(op.MaxPeriod) * i / (half - op.Shift));
            high[i] = (float)frequency;
            low[i] = (float)(frequency - high[i]);
        }

        var (top, rest) = (build.Constant(high), build.Constant(low));
        var (config, kernel, t, y) = (build.Device.PerItem(build.Count), build.Kernels.Sinusoidal, build.Operand(0), build.Output());
        return () => kernel(config, t.Floats, top, rest, y.Floats, images, op.Dim, op.Flip ? 1 : 0);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuFourier : IlgpuImplementation
{
    public override string Name => "double-float";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (FourierEmbeddingOp)build.Op;
        int images = (int)build.Shape(0)[0], half = (int)build.Shape(1)[0];
        var (config, kernel, t, w, y) = (build.Device.PerItem(build.Count), build.Kernels.Fourier, build.Operand(0), build.Operand(1), build.Output());
        return () => kernel(config, t.Floats, w.Floats, y.Floats, images, half, op.Log ? 1 : 0, op.Flip ? 1 : 0);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}
