namespace DiffusionCore.Runtime;

/// <summary>Operands of a product's epilogue, resolved when the step runs.</summary>
internal unsafe struct CpuEpilogue
{
    private byte** bias;
    private byte** channel;
    private byte** residual;
    private long channels, residualPitch;
    private float scale;
    private Activation activation;

    /// <param name="first">Index of the first operand after x and W.</param>
    public static CpuEpilogue Bind(CpuBuild build, bool bias, EpilogueSpec spec, int first, long channels)
    {
        var e = new CpuEpilogue { channels = channels, scale = spec.Scale, activation = spec.Activation };
        if (bias) e.bias = build.Operand(first++);
        if (spec.ChannelAdd) e.channel = build.Operand(first++);
        if (!spec.Residual) return e;
        e.residual = build.Operand(first);
        e.residualPitch = build.Pitch(first);
        return e;
    }

    /// <summary>What of a product may lie in rows further apart than they are wide: x, the residual, and the result.</summary>
    public static bool TakesPitch(Node node, EpilogueSpec spec, int operand) => operand is IImplementation.Result or 0 || (spec.Residual && operand == node.Inputs.Length - 1);

    public readonly Epilogue Resolve() => new()
    {
        Bias = bias == null ? null : (float*)*bias,
        ChannelAdd = channel == null ? null : (float*)*channel,
        ChannelAddPitch = channels,
        Residual = residual == null ? null : (float*)*residual,
        ResidualPitch = residualPitch,
        Scale = scale,
        Activation = activation,
    };
}

/// <summary>x W^T on packed weights.</summary>
internal sealed unsafe class CpuLinear(CpuDevice device) : CpuImplementation
{
    public override string Name => "gemm-packed";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);

    public override string? DeclinesWeight(Graph graph, Node node) => CpuBuild.SourceOf(graph, node.Inputs[1]) is null ? "W is computed, not stored" : null;

    public override WeightForm Form(int operand, DType stored) => operand == 1 ? WeightForm.Packed : WeightForm.Float;

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands)
    {
        var (n, k) = ((int)operands[1].Shape[0], (int)operands[1].Shape[1]);
        return Gemm.ScratchBytes((int)(node.Type.Shape.Count / n), n, k, WeightUse.PackedType(operands[1].DType), device.Pool.Count);
    }

    public override bool TakesPitch(Node node, int operand) => CpuEpilogue.TakesPitch(node, (node.Op as FusedLinearOp)?.Epilogue ?? EpilogueSpec.None, operand);

    public override CpuStep Build(CpuBuild build)
    {
        var (core, epilogue) = build.Op is FusedLinearOp fused ? (fused.Core, fused.Epilogue) : ((LinearOp)build.Op, EpilogueSpec.None);
        int n = (int)build.Shape(1)[0], k = (int)build.Shape(1)[1], m = (int)(build.Result.Shape.Count / n);
        return new Step
        {
            Pool = build.Pool,
            X = build.Operand(0),
            Y = build.Output(),
            PitchX = build.Pitch(0),
            PitchY = build.ResultPitch(),
            Weights = build.Packed(1, n, k, 1).Pointer,
            Type = WeightUse.PackedType(build.Type(1).DType),
            M = m,
            N = n,
            K = k,
            RowsPerImage = build.Result.Shape.Rank > 1 ? (int)(m / build.Result.Shape[0]) : m,
            Epilogue = CpuEpilogue.Bind(build, core.Bias, epilogue, 2, n),
            Scratch = build.Scratch(),
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required byte** X, Y;
        public required byte* Weights, Scratch;
        public required WeightType Type;
        public required long PitchX, PitchY;
        public required int M, N, K, RowsPerImage;
        public required CpuEpilogue Epilogue;

        public override void Run()
        {
            var e = Epilogue.Resolve();
            Gemm.Run(Pool, (float*)*X, PitchX, M, K, Weights, Type, N, (float*)*Y, PitchY, RowsPerImage, e, Scratch);
        }
    }
}

/// <summary>Attention by blocks of keys; the score matrix is never stored whole.</summary>
internal sealed unsafe class CpuAttention(CpuDevice device) : CpuImplementation
{
    public override string Name => "flash-transposed";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands) =>
        NeedsF32(node, operands) ?? (operands.Length > 3 && operands[3].Shape[-1] != operands[1].Shape[1] ? "the mask is broadcast over the keys" : null);

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) =>
        Attention.ScratchBytes(ShapeOf((AttentionOp)node.Op, operands[0].Shape, operands[1].Shape, operands[2].Shape), device.Pool.Count);

    public override CpuStep Build(CpuBuild build)
    {
        var op = (AttentionOp)build.Op;
        var step = new Step
        {
            Pool = build.Pool,
            Shape = ShapeOf(op, build.Shape(0), build.Shape(1), build.Shape(2)),
            Q = build.Operand(0),
            K = build.Operand(1),
            V = build.Operand(2),
            Y = build.Output(),
            Mask = op.Mask ? build.Operand(3) : null,
            Scratch = build.Scratch(),
        };
        if (op.Mask)
        {
            // Broadcast to [B, H, Q, K]; the last axis must be dense, which a broadcast extent of 1 is not.
            var s = build.Shape(3);
            long stride = 1;
            var strides = new long[4];
            for (int axis = 1; axis <= s.Rank; axis++)
            {
                strides[4 - axis] = s[-axis] == 1 ? 0 : stride;
                stride *= s[-axis];
            }

            (step.MaskBatch, step.MaskHead, step.MaskRow) = (strides[0], strides[1], strides[2]);
        }

        return step;
    }

    private static AttentionShape ShapeOf(AttentionOp op, Shape q, Shape k, Shape v) => new()
    {
        Batch = (int)q[0],
        Heads = op.Heads,
        Queries = (int)q[1],
        Keys = (int)k[1],
        HeadDim = (int)(q[2] / op.Heads),
        ValueDim = (int)(v[2] / op.Heads),
        Scale = op.Scale,
        Causal = op.Causal,
    };

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required AttentionShape Shape;
        public required byte** Q, K, V, Y, Mask;
        public required byte* Scratch;
        public long MaskBatch, MaskHead, MaskRow;

        public override void Run()
        {
            long c = (long)Shape.Heads * Shape.HeadDim, e = (long)Shape.Heads * Shape.ValueDim;
            Attention.Run(
                Pool, Shape, (float*)*Q, c, (float*)*K, c, (float*)*V, e, Mask == null ? null : (float*)*Mask, MaskBatch, MaskHead, MaskRow, (float*)*Y, e, Scratch);
        }
    }
}
