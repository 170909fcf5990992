namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuGroupNormGradient(CpuDevice device) : CpuImplementation
{
    public override string Name => "three-pass";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) =>
        GroupNormGradient.ScratchBytes((int)operands[0].Shape[-1], ((GroupNormGradientOp)node.Op).Groups, device.Pool.Count);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (GroupNormGradientOp)build.Op;
        var s = build.Shape(0);
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Dy = build.Operand(1), Gamma = op.Affine ? build.Operand(2) : null, Y = build.Output(), Scratch = build.Scratch(),
            N = (int)s[0], Channels = (int)s[-1], Pixels = (int)(s.Count / s[0] / s[-1]), Groups = op.Groups, Epsilon = op.Epsilon,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Dy, Gamma, Y;
        public required byte* Scratch;
        public required int N, Pixels, Channels, Groups;
        public required float Epsilon;

        public override void Run() =>
            GroupNormGradient.Run(Pool, (float*)*X, (float*)*Dy, (float*)*Y, N, Pixels, Channels, Groups, Gamma == null ? null : (float*)*Gamma, Epsilon, Scratch);
    }
}
