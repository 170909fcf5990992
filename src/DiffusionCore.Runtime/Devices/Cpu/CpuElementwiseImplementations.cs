namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuUnary : CpuImplementation
{
    public override string Name => "vector";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build) =>
        new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Count = build.Result.Shape.Count, Function = ((UnaryOp)build.Op).Function };

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required long Count;
        public required Unary Function;

        public override void Run() => UnaryKernel.Run(Pool, Function, (float*)*X, (float*)*Y, Count);
    }
}

internal sealed unsafe class CpuAffine : CpuImplementation
{
    public override string Name => "vector";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (AffineOp)build.Op;
        return new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Count = build.Result.Shape.Count, A = op.A, B = op.B };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required long Count;
        public required float A, B;

        public override void Run() => UnaryKernel.RunAffine(Pool, A, B, (float*)*X, (float*)*Y, Count);
    }
}

internal sealed unsafe class CpuBinary : CpuImplementation
{
    public override string Name => "vector";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        long[] to = build.Result.Shape.ToArray(), a = new long[to.Length], b = new long[to.Length], y = new long[to.Length];
        StridedLoop.Broadcast(build.Shape(0).ToArray(), to, a);
        StridedLoop.Broadcast(build.Shape(1).ToArray(), to, b);
        StridedLoop.Broadcast(to, to, y);
        return new Step
        {
            Pool = build.Pool, A = build.Operand(0), B = build.Operand(1), Y = build.Output(), Loop = StridedLoop.Create(to, a, b, y), Function = ((BinaryOp)build.Op).Function,
            Empty = build.Result.Shape.Count == 0,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** A, B, Y;
        public required StridedLoop Loop;
        public required Binary Function;
        public required bool Empty;

        public override void Run()
        {
            if (!Empty) BinaryKernel.Run(Pool, Function, Loop, (float*)*A, (float*)*B, (float*)*Y);
        }
    }
}

internal sealed unsafe class CpuGeglu : CpuImplementation
{
    public override string Name => "vector";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        int half = (int)build.Result.Shape[-1];
        return new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Half = half, Rows = build.Result.Shape.Count / half };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required int Half;
        public required long Rows;

        public override void Run() => GegluKernel.Run(Pool, (float*)*X, (float*)*Y, Rows, Half);
    }
}

/// <summary>Integers to F32: what time steps and class numbers need. Other casts go to the reference.</summary>
internal sealed unsafe class CpuCast : CpuImplementation
{
    public override string Name => "integer-to-float";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) =>
        node.Type.DType == DType.F32 && operands[0].DType is DType.I32 or DType.I64 ? null : $"{operands[0].DType} to {node.Type.DType}";

    public override CpuStep Build(CpuBuild build) =>
        new Step { X = build.Operand(0), Y = build.Output(), Count = build.Result.Shape.Count, Wide = build.Type(0).DType == DType.I64 };

    private sealed class Step : CpuStep
    {
        public required byte** X, Y;
        public required long Count;
        public required bool Wide;

        public override void Run()
        {
            var y = (float*)*Y;
            for (long i = 0; i < Count; i++) y[i] = Wide ? ((long*)*X)[i] : ((int*)*X)[i];
        }
    }
}

internal sealed unsafe class CpuSinusoidal : CpuImplementation
{
    public override string Name => "double";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build) =>
        new Step { T = build.Operand(0), Y = build.Output(), N = (int)build.Shape(0)[0], Op = (SinusoidalEmbeddingOp)build.Op };

    private sealed class Step : CpuStep
    {
        public required byte** T, Y;
        public required int N;
        public required SinusoidalEmbeddingOp Op;

        public override void Run() => TimeEmbedding.Sinusoidal((float*)*T, (float*)*Y, N, Op.Dim, Op.Flip, Op.Shift, Op.Scale, Op.MaxPeriod);
    }
}

internal sealed unsafe class CpuFourier : CpuImplementation
{
    public override string Name => "double";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build) => new Step
    {
        T = build.Operand(0), W = build.Operand(1), Y = build.Output(), N = (int)build.Shape(0)[0], Half = (int)build.Shape(1)[0], Op = (FourierEmbeddingOp)build.Op,
    };

    private sealed class Step : CpuStep
    {
        public required byte** T, W, Y;
        public required int N, Half;
        public required FourierEmbeddingOp Op;

        public override void Run() => TimeEmbedding.Fourier((float*)*T, (float*)*W, (float*)*Y, N, Half, Op.Log, Op.Flip);
    }
}
