using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuTokenMatch : CpuImplementation
{
    public override string Name => "argmax-and-sort";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => operands[0].DType == DType.F32 ? null : $"the scores are {operands[0].DType}";

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) => TokenMerge.MatchScratchBytes(operands[0].Shape[0], operands[0].Shape[1]);

    public override CpuStep Build(CpuBuild build)
    {
        var s = build.Shape(0);
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Scratch = build.Scratch(), Images = (int)s[0], Sources = (int)s[1], Targets = (int)s[2],
            Count = (int)((TokenMatchOp)build.Op).Count,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required byte* Scratch;
        public required int Images, Sources, Targets, Count;

        public override void Run() => TokenMerge.Match(Pool, (float*)*X, (int*)*Y, Scratch, Images, Sources, Targets, Count);
    }
}

internal sealed unsafe class CpuTokenMerge : CpuImplementation
{
    public override string Name => "sum-in-order";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => operands[0].DType == DType.F32 ? null : $"x is {operands[0].DType}";

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) => operands[0].Shape[0] * ((TokenMergeOp)node.Op).Targets * sizeof(int);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (TokenMergeOp)build.Op;
        var map = build.Shape(1);
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Map = build.Operand(1), Y = build.Output(), Scratch = build.Scratch(), Images = (int)map[0], Sources = (int)map[1],
            Targets = (int)op.Targets, Count = (int)op.Count, Channels = (int)build.Shape(0)[2],
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Map, Y;
        public required byte* Scratch;
        public required int Images, Sources, Targets, Count, Channels;

        public override void Run() => TokenMerge.Merge(Pool, (float*)*X, (int*)*Map, (float*)*Y, (int*)Scratch, Images, Sources, Targets, Count, Channels);
    }
}

internal sealed unsafe class CpuTokenUnmerge : CpuImplementation
{
    public override string Name => "copy-rows";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => operands[0].DType == DType.F32 ? null : $"x is {operands[0].DType}";

    public override CpuStep Build(CpuBuild build)
    {
        Shape x = build.Shape(0), map = build.Shape(1);
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Map = build.Operand(1), Y = build.Output(), Images = (int)map[0], Sources = (int)map[1],
            Targets = (int)((TokenUnmergeOp)build.Op).Targets, Rows = (int)x[1], Channels = (int)x[2],
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Map, Y;
        public required int Images, Sources, Targets, Rows, Channels;

        public override void Run() => TokenMerge.Unmerge(Pool, (float*)*X, (int*)*Map, (float*)*Y, Images, Sources, Targets, Rows, Channels);
    }
}

internal sealed unsafe class CpuHaar : CpuImplementation
{
    public override string Name => "rows";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => operands[0].DType == DType.F32 ? null : $"x is {operands[0].DType}";

    public override CpuStep Build(CpuBuild build)
    {
        bool inverse = build.Op is InverseHaarOp;
        Shape bands = inverse ? build.Shape(0) : build.Result.Shape;
        return new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Images = (int)bands[0], Height = (int)bands[1], Width = (int)bands[2], Channels = (int)bands[3] / 4, Inverse = inverse };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required int Images, Height, Width, Channels;
        public required bool Inverse;

        public override void Run()
        {
            if (Inverse) HaarKernel.Inverse(Pool, (float*)*X, (float*)*Y, Images, Height, Width, Channels);
            else HaarKernel.Forward(Pool, (float*)*X, (float*)*Y, Images, Height, Width, Channels);
        }
    }
}
