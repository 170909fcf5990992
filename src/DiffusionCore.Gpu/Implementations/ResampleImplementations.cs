using DiffusionCore.Kernels;
using DiffusionCore.Runtime;
using Shape = DiffusionCore.Runtime.Shape;

namespace DiffusionCore.Gpu;

internal sealed class IlgpuNearest : IlgpuImplementation
{
    public override string Name => "nearest";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var map = MapOf(build);
        var (config, kernel, x, y) = (build.Device.PerItem(build.Count), build.Kernels.Nearest, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, map);
    }

    internal static ResampleKernels.Map MapOf(IlgpuBuild build)
    {
        Shape x = build.Shape(0), y = build.Result.Shape;
        return new ResampleKernels.Map { Count = build.Count, Height = (int)x[1], Width = (int)x[2], Channels = (int)x[3], OutHeight = (int)y[1], OutWidth = (int)y[2] };
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuAveragePool : IlgpuImplementation
{
    public override string Name => "window";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (AveragePoolOp)build.Op;
        var map = IlgpuNearest.MapOf(build);
        var window = new ResampleKernels.Window
        {
            KernelH = op.KernelH, KernelW = op.KernelW, StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, PadBottom = op.PadBottom,
            PadRight = op.PadRight, DilationH = op.DilationH, DilationW = op.DilationW, CountPadding = op.CountPadding ? 1 : 0,
        };
        var (config, kernel, x, y) = (build.Device.PerItem(build.Count), build.Kernels.Average, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, map, window);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuMaxPool : IlgpuImplementation
{
    public override string Name => "window";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (MaxPoolOp)build.Op;
        var map = IlgpuNearest.MapOf(build);
        var window = new ResampleKernels.Window
        {
            KernelH = op.KernelH, KernelW = op.KernelW, StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, PadBottom = op.PadBottom,
            PadRight = op.PadRight, DilationH = op.DilationH, DilationW = op.DilationW,
        };
        var (config, kernel, x, y) = (build.Device.PerItem(build.Count), build.Kernels.Largest, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, map, window);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuFir : IlgpuImplementation
{
    public override string Name => "polyphase";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (FirResampleOp)build.Op;
        var map = IlgpuNearest.MapOf(build);
        var taps = build.Constant([.. op.Taps]);
        int count = op.Taps.Count;
        var (config, kernel, x, y) = (build.Device.PerItem(build.Count), build.Kernels.Fir, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, taps, y.Floats, map, count, op.Up, op.Down, op.PadBefore);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

/// <summary>Any separable filter, as a table per axis.</summary>
internal sealed class IlgpuResize : IlgpuImplementation
{
    public override string Name => "axis-tables";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (ResizeOp)build.Op;
        var map = IlgpuNearest.MapOf(build);
        var rows = ResizeTable.Of(op, map.Height, op.OutHeight, op.ScaleH);
        var columns = ResizeTable.Of(op, map.Width, op.OutWidth, op.ScaleW);
        var (rowIndex, rowWeight, columnIndex, columnWeight) = (build.Constant(rows.Index), build.Constant(rows.Weight), build.Constant(columns.Index), build.Constant(columns.Weight));
        var (config, kernel, x, y) = (build.Device.PerItem(build.Count), build.Kernels.Resize, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, rowIndex, rowWeight, columnIndex, columnWeight, y.Floats, map, rows.Taps, columns.Taps);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}
