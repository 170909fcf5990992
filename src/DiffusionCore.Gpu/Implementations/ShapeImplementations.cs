using DiffusionCore.Kernels;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>Permutation, slice and broadcast are one strided copy.</summary>
internal sealed class IlgpuStridedCopy : IlgpuImplementation
{
    public override string Name => "strided-copy";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var view = StridedView.Of(build.Op, build.Shape(0), build.Result.Shape);
        return Copies.Launch(build, 0, build.Count, view.Offset, 0, Strides.Create(build.Result.Shape.ToArray(), view.Strides, StridedView.Dense(build.Result.Shape)));
    }

    // A weight is F32 in memory, so a copy of one that is stored otherwise is no copy.
    public override string? DeclinesWeight(Graph graph, Node node) =>
        IlgpuBuild.SourceOf(graph, node.Inputs[0]) is { } source && source.Type.DType != DType.F32 ? $"the weight is stored as {source.Type.DType}" : null;

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => null;
}

/// <summary>One strided copy per part.</summary>
internal sealed class IlgpuConcat : IlgpuImplementation
{
    public override string Name => "strided-copy";

    public override Action Build(IlgpuBuild build)
    {
        int axis = ((ConcatOp)build.Op).Axis;
        long[] dense = StridedView.Dense(build.Result.Shape);
        var parts = new List<Action>();
        long at = 0;
        for (int i = 0; i < build.OperandCount; i++)
        {
            var shape = build.Shape(i);
            if (shape.Count > 0) parts.Add(Copies.Launch(build, i, (int)shape.Count, 0, at * dense[axis], Strides.Create(shape.ToArray(), StridedView.Dense(shape), dense)));
            at += shape[axis];
        }

        var all = parts.ToArray();
        return () =>
        {
            foreach (var part in all) part();
        };
    }

    public override string? DeclinesWeight(Graph graph, Node node)
    {
        foreach (int input in node.Inputs)
            if (IlgpuBuild.SourceOf(graph, input) is { } source && source.Type.DType != DType.F32) return $"a weight is stored as {source.Type.DType}";
        return null;
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => null;
}

internal static class Copies
{
    /// <summary>A copy of elements of any type of 1, 2, 4 or 8 bytes.</summary>
    public static Action Launch(IlgpuBuild build, int operand, int count, long from, long to, Strides strides) => build.Result.DType.Size() switch
    {
        1 => Of<byte>(build, operand, count, from, to, strides),
        2 => Of<ushort>(build, operand, count, from, to, strides),
        4 => Of<uint>(build, operand, count, from, to, strides),
        _ => Of<ulong>(build, operand, count, from, to, strides),
    };

    private static Action Of<T>(IlgpuBuild build, int operand, int count, long from, long to, Strides strides)
        where T : unmanaged
    {
        var (config, kernel, x, y) = (build.Device.PerItem(count), build.Kernels.Copy<T>(), build.Operand(operand), build.Output());
        return () => kernel(config, x.As<T>(), y.As<T>(), count, (int)from, (int)to, strides);
    }
}

internal sealed class IlgpuPad : IlgpuImplementation
{
    public override string Name => "border";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (PadOp)build.Op;
        int[] y = Six(build.Result.Shape.ToArray(), 1), x = Six(build.Shape(0).ToArray(), 1), b = Six([.. op.Before], 0);
        var border = new CopyKernels.Border
        {
            Count = build.Count, Fill = op.Fill,
            Mode = op.Mode switch { PadMode.Constant => CopyKernels.Constant, PadMode.Reflect => CopyKernels.Reflect, PadMode.Edge => CopyKernels.Edge, _ => CopyKernels.Wrap },
            Y1 = y[1], Y2 = y[2], Y3 = y[3], Y4 = y[4], Y5 = y[5], X0 = x[0], X1 = x[1], X2 = x[2], X3 = x[3], X4 = x[4], X5 = x[5],
            Before0 = b[0], Before1 = b[1], Before2 = b[2], Before3 = b[3], Before4 = b[4], Before5 = b[5],
        };
        var (config, kernel, source, target) = (build.Device.PerItem(build.Count), build.Kernels.Pad, build.Operand(0), build.Output());
        return () => kernel(config, source.Floats, target.Floats, border);

        static int[] Six(long[] values, int fill)
        {
            var six = new int[Strides.Rank];
            Array.Fill(six, fill);
            for (int i = 0; i < values.Length; i++) six[Strides.Rank - values.Length + i] = checked((int)values[i]);
            return six;
        }
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuGather : IlgpuImplementation
{
    public override string Name => "gather";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int rows = (int)build.Shape(1)[0], dim = (int)build.Shape(1)[1], count = build.Count;
        string layer = build.Node.Layer;
        var failed = build.Failure(() => new UsageException($"{layer}: an id is outside the table of {rows} rows"));
        var (config, ids, table, y) = (build.Device.PerItem(count), build.Operand(0), build.Operand(1), build.Output());
        if (build.Type(0).DType == DType.I64)
        {
            var wide = build.Kernels.GatherWide;
            return () => wide(config, ids.As<long>(), table.Floats, y.Floats, failed, count, rows, dim);
        }

        var kernel = build.Kernels.Gather;
        return () => kernel(config, ids.As<int>(), table.Floats, y.Floats, failed, count, rows, dim);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands, 1);
}

internal sealed class IlgpuPick : IlgpuImplementation
{
    public override string Name => "pick";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int count = build.Count, tokens = (int)build.Shape(0)[1], channels = (int)build.Shape(0)[2];
        long wanted = ((PickTokenOp)build.Op).EndOfText;
        var (config, kernel, x, ids, y) = (build.Device.PerItem(count), build.Kernels.Pick, build.Operand(0), build.Operand(1), build.Output());
        return () => kernel(config, x.Floats, ids.As<long>(), y.Floats, count, tokens, channels, wanted);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) =>
        operands[1].DType != DType.I64 ? $"the ids are {operands[1].DType}" : operands[0].DType.IsFloat() ? null : $"operand 0 is {operands[0].DType}";
}

internal sealed class IlgpuNearestCode : IlgpuImplementation
{
    public override string Name => "row-per-thread";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int count = build.Count, codes = (int)build.Shape(1)[0], width = (int)build.Shape(1)[1];
        var (config, kernel, x, table, y) = (build.Device.PerItem(count), build.Kernels.NearestCode, build.Operand(0), build.Operand(1), build.Output());
        return () => kernel(config, x.Floats, table.Floats, y.As<long>(), count, codes, width);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) =>
        !operands[0].DType.IsFloat() ? $"operand 0 is {operands[0].DType}" : operands[1].DType.IsFloat() ? null : $"operand 1 is {operands[1].DType}";
}
