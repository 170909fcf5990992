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
