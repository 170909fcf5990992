namespace DiffusionCore.Runtime;

/// <summary>A linear layer and the gate after it in one pass over the rows.</summary>
internal sealed unsafe class CpuLinearGeglu(CpuDevice device) : CpuImplementation
{
    public override string Name => "gemm-geglu";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands) ?? GegluProduct.Declines((int)node.Type.Shape[-1]);

    public override string? DeclinesWeight(Graph graph, Node node) => CpuBuild.SourceOf(graph, node.Inputs[1]) is null ? "W is computed, not stored" : null;

    public override WeightForm Form(int operand, DType stored) => operand == 1 ? WeightForm.Packed : WeightForm.Float;

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) =>
        GegluProduct.ScratchBytes((int)node.Type.Shape[-1], (int)operands[1].Shape[1], WeightUse.PackedType(operands[1].DType), device.Pool.Count);

    public override CpuStep Build(CpuBuild build)
    {
        int n = (int)build.Shape(1)[0], k = (int)build.Shape(1)[1];
        return new Step
        {
            Pool = build.Pool,
            X = build.Operand(0),
            Y = build.Output(),
            Bias = ((LinearGegluOp)build.Op).Core.Bias ? build.Operand(2) : null,
            Weights = build.Packed(1, n, k, 1).Pointer,
            Type = WeightUse.PackedType(build.Type(1).DType),
            M = (int)(build.Result.Shape.Count / (n / 2)),
            Half = n / 2,
            K = k,
            Scratch = build.Scratch(),
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y, Bias;
        public required byte* Weights, Scratch;
        public required WeightType Type;
        public required int M, Half, K;

        public override void Run() =>
            GegluProduct.Run(Pool, (float*)*X, K, M, K, Weights, Type, Half, Bias == null ? null : (float*)*Bias, (float*)*Y, Half, Scratch);
    }
}
