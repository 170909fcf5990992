namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuNearestCode : CpuImplementation
{
    private const int MaximumCodes = 1 << 24;

    public override string Name => "16-rows";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands)
    {
        foreach (var t in operands)
            if (!t.DType.IsFloat()) return $"an operand is {t.DType}";
        var table = operands[1].Shape;
        return table[1] > NearestCode.MaximumWidth ? $"vectors wider than {NearestCode.MaximumWidth}" : table[0] > MaximumCodes ? $"more than {MaximumCodes} codes" : null;
    }

    public override CpuStep Build(CpuBuild build)
    {
        var table = build.Shape(1);
        return new Step { Pool = build.Pool, X = build.Operand(0), Table = build.Operand(1), Y = build.Output(), Rows = build.Result.Shape.Count, Codes = (int)table[0], Width = (int)table[1] };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Table, Y;
        public required long Rows;
        public required int Codes, Width;

        public override void Run() => NearestCode.Run(Pool, (float*)*X, (float*)*Table, (long*)*Y, Rows, Codes, Width);
    }
}

internal sealed unsafe class CpuConvTranspose2d : CpuImplementation
{
    public override string Name => "direct";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) =>
        TransposedConvolution.ScratchBytes(ShapeOf((ConvTranspose2dOp)node.Op, operands[0].Shape, operands[1].Shape, node.Type.Shape));

    public override CpuStep Build(CpuBuild build)
    {
        var op = (ConvTranspose2dOp)build.Op;
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Weights = build.Operand(1), Bias = op.Bias ? build.Operand(2) : null, Y = build.Output(), Scratch = build.Scratch(),
            Shape = ShapeOf(op, build.Shape(0), build.Shape(1), build.Result.Shape),
        };
    }

    private static TransposedConvShape ShapeOf(ConvTranspose2dOp op, Shape x, Shape w, Shape y) => new()
    {
        Batch = (int)x[0], Height = (int)x[1], Width = (int)x[2], Channels = (int)x[3], OutHeight = (int)y[1], OutWidth = (int)y[2], Outputs = (int)y[3], KernelH = (int)w[2], KernelW = (int)w[3],
        StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, DilationH = op.DilationH, DilationW = op.DilationW, Groups = op.Groups,
    };

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Weights, Bias, Y;
        public required byte* Scratch;
        public required TransposedConvShape Shape;

        public override void Run() => TransposedConvolution.Run(Pool, Shape, (float*)*X, (float*)*Weights, Bias == null ? null : (float*)*Bias, (float*)*Y, Scratch);
    }
}

internal sealed unsafe class CpuMaxPool : CpuImplementation
{
    public override string Name => "window";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (MaxPoolOp)build.Op;
        Shape x = build.Shape(0), y = build.Result.Shape;
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Y = build.Output(),
            Window = new WindowShape
            {
                Batch = (int)x[0], Height = (int)x[1], Width = (int)x[2], Channels = (int)x[3], OutHeight = (int)y[1], OutWidth = (int)y[2], KernelH = op.KernelH, KernelW = op.KernelW,
                StrideH = op.StrideH, StrideW = op.StrideW, PadTop = op.PadTop, PadLeft = op.PadLeft, DilationH = op.DilationH, DilationW = op.DilationW,
            },
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required WindowShape Window;

        public override void Run() => MaxPool.Run(Pool, Window, (float*)*X, (float*)*Y);
    }
}

internal sealed unsafe class CpuResize : CpuImplementation
{
    public override string Name => "axis-tables";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (ResizeOp)build.Op;
        var x = build.Shape(0);
        return new Step { Pool = build.Pool, X = build.Operand(0), Y = build.Output(), From = x, Rows = ResizeTable.Of(op, x[1], op.OutHeight, op.ScaleH), Columns = ResizeTable.Of(op, x[2], op.OutWidth, op.ScaleW) };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required Shape From;
        public required AxisTable Rows, Columns;

        public override void Run() => AxisResize.Run(Pool, (float*)*X, (float*)*Y, (int)From[0], (int)From[1], (int)From[2], (int)From[3], Rows, Columns);
    }
}
