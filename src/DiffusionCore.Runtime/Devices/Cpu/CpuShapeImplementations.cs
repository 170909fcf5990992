namespace DiffusionCore.Runtime;

/// <summary>Permutation, slice and broadcast are one strided copy.</summary>
internal sealed unsafe class CpuStridedCopy : CpuImplementation
{
    public override string Name => "strided-copy";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) =>
        node.Type.DType.Size() == operands[0].DType.Size() ? null : "the operand's type is not the result's";

    public override CpuStep Build(CpuBuild build)
    {
        var view = StridedView.Of(build.Op, build.Shape(0), build.Result.Shape);
        return new CopyStep
        {
            Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Size = SizeOf(build, 0), Offset = view.Offset, Target = 0,
            Loop = StridedLoop.Create(build.Result.Shape.ToArray(), view.Strides, StridedView.Dense(build.Result.Shape), []), Empty = build.Result.Shape.Count == 0,
        };
    }

    /// <summary>A weight's slot holds F32 whatever the file has.</summary>
    internal static int SizeOf(CpuBuild build, int operand) => build.Source(operand) is null ? build.Type(operand).DType.Size() : sizeof(float);

    internal sealed class CopyStep : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required int Size;
        public required long Offset, Target;
        public required StridedLoop Loop;
        public required bool Empty;

        public override void Run()
        {
            if (!Empty) CopyKernel.Run(Pool, Loop, Size, *X + Offset * Size, *Y + Target * Size);
        }
    }
}

internal sealed unsafe class CpuConcat : CpuImplementation
{
    public override string Name => "strided-copy";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => null;

    public override CpuStep Build(CpuBuild build)
    {
        int axis = ((ConcatOp)build.Op).Axis;
        var dense = StridedView.Dense(build.Result.Shape);
        var parts = new List<CpuStep>();
        long at = 0;
        for (int i = 0; i < build.OperandCount; i++)
        {
            var shape = build.Shape(i);
            parts.Add(new CpuStridedCopy.CopyStep
            {
                Pool = build.Pool, X = build.Operand(i), Y = build.Output(), Size = CpuStridedCopy.SizeOf(build, i), Offset = 0, Target = at * dense[axis],
                Loop = StridedLoop.Create(shape.ToArray(), StridedView.Dense(shape), dense, []), Empty = shape.Count == 0,
            });
            at += shape[axis];
        }

        return new Sequence { Parts = [.. parts] };
    }

    internal sealed class Sequence : CpuStep
    {
        public required CpuStep[] Parts;

        public override void Run()
        {
            foreach (var part in Parts) part.Run();
        }
    }
}

/// <summary>Constant borders: fill, then copy the body.</summary>
internal sealed unsafe class CpuPad : CpuImplementation
{
    public override string Name => "fill-and-copy";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) =>
        NeedsF32(node, operands) ?? (((PadOp)node.Op).Mode != PadMode.Constant ? $"{((PadOp)node.Op).Mode} borders" : null);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (PadOp)build.Op;
        var dense = StridedView.Dense(build.Result.Shape);
        var shape = build.Shape(0);
        return new Step
        {
            Pool = build.Pool, Y = build.Output(), Count = build.Result.Shape.Count, Fill = op.Fill,
            Body = new CpuStridedCopy.CopyStep
            {
                Pool = build.Pool, X = build.Operand(0), Y = build.Output(), Size = sizeof(float), Offset = 0, Target = op.Before.Select((b, a) => b * dense[a]).Sum(),
                Loop = StridedLoop.Create(shape.ToArray(), StridedView.Dense(shape), dense, []), Empty = shape.Count == 0,
            },
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** Y;
        public required long Count;
        public required float Fill;
        public required CpuStep Body;

        public override void Run()
        {
            CopyKernel.Fill(Pool, Fill, (float*)*Y, Count);
            Body.Run();
        }
    }
}

internal sealed unsafe class CpuEmbedding : CpuImplementation
{
    public override string Name => "gather";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) =>
        node.Type.DType == DType.F32 && operands[1].DType.IsFloat() ? null : "the table is not of floats";

    public override WeightForm Form(int operand, DType stored) => operand == 1 && stored is DType.F16 or DType.BF16 ? WeightForm.Raw : WeightForm.Float;

    public override CpuStep Build(CpuBuild build)
    {
        var source = build.Source(1);
        bool stored = source is not null && Form(1, source.Type.DType) == WeightForm.Raw;
        return new Step
        {
            Ids = build.Operand(0), Table = stored ? null : build.Operand(1), Stored = stored ? build.Raw(1) : null, Y = build.Output(), Count = build.Shape(0).Count,
            Rows = build.Shape(1)[0], Dim = build.Shape(1)[1], Wide = build.Type(0).DType == DType.I64,
            Type = stored ? WeightUse.PackedType(source!.Type.DType) : WeightType.F32, Layer = build.Node.Layer,
        };
    }

    private sealed class Step : CpuStep
    {
        public required byte** Ids, Table, Y;
        public required CpuBuffer? Stored;
        public required long Count, Rows, Dim;
        public required bool Wide;
        public required WeightType Type;
        public required string Layer;

        public override void Run()
        {
            var y = (float*)*Y;
            for (long i = 0; i < Count; i++, y += Dim)
            {
                long id = Wide ? ((long*)*Ids)[i] : ((int*)*Ids)[i];
                if (id < 0 || id >= Rows) throw new UsageException($"{Layer}: id {id} is outside the table of {Rows} rows");
                if (Stored is not null) PackedWeights.Widen(Stored.Pointer + id * Dim * 2, Type, y, Dim);
                else new ReadOnlySpan<float>((float*)*Table + id * Dim, (int)Dim).CopyTo(new Span<float>(y, (int)Dim));
            }
        }
    }
}

internal sealed unsafe class CpuUpsample : CpuImplementation
{
    public override string Name => "nearest";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build) =>
        new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), From = build.Shape(0), To = build.Result.Shape };

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required Shape From, To;

        public override void Run() =>
            Resample.Nearest(Pool, (float*)*X, (float*)*Y, (int)From[0], (int)From[1], (int)From[2], (int)From[3], (int)To[1], (int)To[2]);
    }
}

internal sealed unsafe class CpuAveragePool : CpuImplementation
{
    public override string Name => "window";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (AveragePoolOp)build.Op;
        Shape x = build.Shape(0), y = build.Result.Shape;
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Y = build.Output(),
            Window = new WindowShape
            {
                Batch = (int)x[0], Height = (int)x[1], Width = (int)x[2], Channels = (int)x[3], OutHeight = (int)y[1], OutWidth = (int)y[2], KernelH = op.KernelH, KernelW = op.KernelW,
                StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, PadBottom = op.PadBottom, PadRight = op.PadRight, CountPadding = op.CountPadding,
                DilationH = op.DilationH, DilationW = op.DilationW,
            },
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required WindowShape Window;

        public override void Run() => Resample.Average(Pool, Window, (float*)*X, (float*)*Y);
    }
}

internal sealed unsafe class CpuFir : CpuImplementation
{
    public override string Name => "polyphase";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) =>
        NeedsF32(node, operands) ?? (((FirResampleOp)node.Op).Taps.Count > Step.MaximumTaps ? $"more than {Step.MaximumTaps} taps" : null);

    public override CpuStep Build(CpuBuild build) =>
        new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), From = build.Shape(0), To = build.Result.Shape, Op = (FirResampleOp)build.Op };

    private sealed class Step : CpuStep
    {
        public const int MaximumTaps = 64;

        public required WorkerPool Pool;
        public required byte** X, Y;
        public required Shape From, To;
        public required FirResampleOp Op;

        public override void Run()
        {
            float* taps = stackalloc float[MaximumTaps];
            for (int i = 0; i < Op.Taps.Count; i++) taps[i] = Op.Taps[i];
            Resample.Fir(
                Pool, (float*)*X, (float*)*Y, (int)From[0], (int)From[1], (int)From[2], (int)From[3], (int)To[1], (int)To[2], taps, Op.Taps.Count, Op.Up, Op.Down, Op.PadBefore);
        }
    }
}
