using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuRmsNorm : CpuImplementation
{
    public override string Name => "row";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (RmsNormOp)build.Op;
        int channels = (int)build.Shape(0)[-1];
        return new Step
        {
            Pool = build.Pool,
            X = build.Operand(0),
            Y = build.Output(),
            Gamma = op.Affine ? build.Operand(1) : null,
            Channels = channels,
            Rows = channels == 0 ? 0 : checked((int)(build.Shape(0).Count / channels)),
            Op = op,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y, Gamma;
        public required int Rows, Channels;
        public required RmsNormOp Op;

        public override void Run() => RmsNorm.Run(Pool, (float*)*X, Channels, (float*)*Y, Channels, Rows, Channels, Gamma == null ? null : (float*)*Gamma, Op.Epsilon, Op.Outside);
    }
}
