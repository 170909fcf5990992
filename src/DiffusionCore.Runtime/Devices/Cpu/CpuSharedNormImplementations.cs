namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuGroupMoments(CpuDevice device) : CpuImplementation
{
    public override string Name => "rows";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands)
    {
        var s = operands[0].Shape;
        return GroupNorm.MomentsScratchBytes((int)s[0], (int)s[1], (int)s[3], ((GroupMomentsOp)node.Op).Groups, device.Pool.Count);
    }

    public override CpuStep Build(CpuBuild build) =>
        new Step { Pool = build.Pool, X = build.Operand(0), Area = build.Operand(1), Y = build.Output(), Scratch = build.Scratch(), Shape = build.Shape(0), Op = (GroupMomentsOp)build.Op };

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Area, Y;
        public required byte* Scratch;
        public required Shape Shape;
        public required GroupMomentsOp Op;

        public override void Run()
        {
            var (top, bottom, left, right) = Op.Rectangle(new ReadOnlySpan<float>(*Area, 4), Shape[1], Shape[2]);
            GroupNorm.Moments(Pool, (float*)*X, (int)Shape[0], (int)Shape[1], (int)Shape[2], (int)Shape[3], Op.Groups, top, bottom, left, right, (float*)*Y, Scratch);
        }
    }
}

internal sealed unsafe class CpuGivenGroupNorm(CpuDevice device) : CpuImplementation
{
    public override string Name => "one-pass";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands)
    {
        var s = operands[0].Shape;
        return GroupNorm.ScratchBytes((int)s[0], (int)(s.Count / s[0] / s[-1]), (int)s[-1], ((GivenGroupNormOp)node.Op).Core.Groups, device.Pool.Count);
    }

    public override CpuStep Build(CpuBuild build)
    {
        var op = (GivenGroupNormOp)build.Op;
        var s = build.Shape(0);
        return new Step
        {
            Pool = build.Pool, X = build.Operand(0), Moments = build.Operand(1), Gamma = op.Core.Affine ? build.Operand(2) : null, Beta = op.Core.Affine ? build.Operand(3) : null,
            Y = build.Output(), Scratch = build.Scratch(), N = (int)s[0], Pixels = (int)(s.Count / s[0] / s[-1]), Channels = (int)s[-1], Op = op,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Moments, Gamma, Beta, Y;
        public required byte* Scratch;
        public required int N, Pixels, Channels;
        public required GivenGroupNormOp Op;

        public override void Run() => GroupNorm.RunGiven(
            Pool, (float*)*X, (float*)*Y, N, Pixels, Channels, Op.Core.Groups, (float*)*Moments, Gamma == null ? null : (float*)*Gamma, Beta == null ? null : (float*)*Beta, Op.Core.Epsilon,
            Op.Activation, Scratch);
    }
}
