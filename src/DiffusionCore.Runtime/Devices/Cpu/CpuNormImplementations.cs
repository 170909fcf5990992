namespace DiffusionCore.Runtime;

internal sealed unsafe class CpuGroupNorm(CpuDevice device) : CpuImplementation
{
    public override string Name => "two-pass";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands)
    {
        var s = operands[0].Shape;
        int channels = (int)s[-1];
        return GroupNorm.ScratchBytes((int)s[0], (int)(s.Count / s[0] / channels), channels, Core(node.Op).Groups, device.Pool.Count);
    }

    // The result stays dense: results beyond the cache are stored past it, whole lines at a time.
    public override bool TakesPitch(Node node, int operand) => operand == 0;

    public override CpuStep Build(CpuBuild build)
    {
        var core = Core(build.Op);
        var fused = build.Op as FusedGroupNormOp;
        var s = build.Shape(0);
        int next = core.Affine ? 3 : 1;
        bool modulated = fused?.Modulated ?? false;
        return new Step
        {
            Pool = build.Pool,
            X = build.Operand(0),
            PitchX = build.Pitch(0),
            Y = build.Output(),
            Gamma = core.Affine ? build.Operand(1) : null,
            Beta = core.Affine ? build.Operand(2) : null,
            Scale = modulated ? build.Operand(next) : null,
            Shift = modulated ? build.Operand(next + 1) : null,
            Activation = fused?.Activation ?? Activation.None,
            N = (int)s[0],
            Channels = (int)s[-1],
            Pixels = (int)(s.Count / s[0] / s[-1]),
            Groups = core.Groups,
            Epsilon = core.Epsilon,
            Scratch = build.Scratch(),
        };
    }

    private static GroupNormOp Core(Op op) => op is FusedGroupNormOp fused ? fused.Core : (GroupNormOp)op;

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y, Gamma, Beta, Scale, Shift;
        public required byte* Scratch;
        public required long PitchX;
        public required int N, Pixels, Channels, Groups;
        public required float Epsilon;
        public required Activation Activation;

        public override void Run() => GroupNorm.Run(
            Pool, (float*)*X, PitchX, (float*)*Y, Channels, N, Pixels, Channels, Groups, At(Gamma), At(Beta), Epsilon, At(Scale), At(Shift), Channels, Activation, Scratch);

        private static float* At(byte** slot) => slot == null ? null : (float*)*slot;
    }
}

internal sealed unsafe class CpuLayerNorm : CpuImplementation
{
    public override string Name => "row";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (LayerNormOp)build.Op;
        int channels = (int)build.Shape(0)[-1];
        return new Step
        {
            Pool = build.Pool,
            X = build.Operand(0),
            Y = build.Output(),
            Gamma = op.Affine ? build.Operand(1) : null,
            Beta = op.Affine ? build.Operand(2) : null,
            Channels = channels,
            Rows = (int)(build.Shape(0).Count / channels),
            Epsilon = op.Epsilon,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y, Gamma, Beta;
        public required int Rows, Channels;
        public required float Epsilon;

        public override void Run() => LayerNorm.Run(
            Pool, (float*)*X, Channels, (float*)*Y, Channels, Rows, Channels, Gamma == null ? null : (float*)*Gamma, Beta == null ? null : (float*)*Beta, Epsilon);
    }
}

internal sealed unsafe class CpuSoftmax : CpuImplementation
{
    public override string Name => "row";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override CpuStep Build(CpuBuild build) => new Step
    {
        Pool = build.Pool,
        X = build.Operand(0),
        Y = build.Output(),
        N = (int)build.Shape(0)[-1],
        Rows = (int)(build.Shape(0).Count / build.Shape(0)[-1]),
    };

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required int Rows, N;

        public override void Run() => Softmax.Run(Pool, (float*)*X, (float*)*Y, Rows, N);
    }
}
