using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>An ILGPU device's ordered lists: the first that accepts wins. The reference on the host comes last and is never fast.</summary>
internal static class IlgpuImplementations
{
    private static readonly HostReference Reference = new();

    public static IReadOnlyList<IImplementation> Of(Op op)
    {
        IlgpuImplementation? own = op switch
        {
            LinearOp or FusedLinearOp => new IlgpuLinear(),
            Conv2dOp { Groups: 1 } or FusedConv2dOp { Core.Groups: 1 } => new IlgpuConvolution(),
            Conv2dOp or FusedConv2dOp => new IlgpuGroupedConvolution(),
            MatMulOp => new IlgpuMatMul(),
            AttentionOp => new IlgpuAttention(),
            GroupNormOp or FusedGroupNormOp => new IlgpuGroupNorm(),
            GroupMomentsOp => new IlgpuGroupMoments(),
            GivenGroupNormOp => new IlgpuGivenGroupNorm(),
            LayerNormOp => new IlgpuLayerNorm(),
            RmsNormOp => new IlgpuRmsNorm(),
            SoftmaxOp => new IlgpuSoftmax(),
            UnaryOp => new IlgpuUnary(),
            BinaryOp => new IlgpuBinary(),
            AffineOp => new IlgpuAffine(),
            GegluOp => new IlgpuGeglu(),
            CastOp => new IlgpuCast(),
            TransposeOp or SliceOp or ExpandOp => new IlgpuStridedCopy(),
            ConcatOp => new IlgpuConcat(),
            PadOp => new IlgpuPad(),
            EmbeddingOp => new IlgpuGather(),
            UpsampleNearestOp => new IlgpuNearest(),
            AveragePoolOp => new IlgpuAveragePool(),
            MaxPoolOp => new IlgpuMaxPool(),
            ResizeOp => new IlgpuResize(),
            ConvTranspose2dOp => new IlgpuTransposedConvolution(),
            NearestCodeOp => new IlgpuNearestCode(),
            PickTokenOp => new IlgpuPick(),
            FirResampleOp => new IlgpuFir(),
            SinusoidalEmbeddingOp => new IlgpuSinusoidal(),
            FourierEmbeddingOp => new IlgpuFourier(),
            _ => null,
        };
        return own is null ? [Reference] : [own, Reference];
    }
}

/// <summary>The interpreter on the host: any operation and type, in double; operands travel to the host and the result back.</summary>
internal sealed class HostReference : IlgpuImplementation
{
    public override string Name => "reference-on-host";

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands)
    {
        foreach (var t in operands)
            if (t.DType == DType.F8E4M3) return "F8E4M3 has no reference";
        return null;
    }

    public override Action Build(IlgpuBuild build)
    {
        var device = build.Device;
        var op = build.Op;
        var result = build.Result;
        // A stored weight lies in memory as F32, and still is of its own type to the operation.
        TensorType[] types = new TensorType[build.OperandCount], stored = new TensorType[types.Length];
        var operands = new Slot[types.Length];
        for (int i = 0; i < types.Length; i++) (types[i], stored[i], operands[i]) = (build.RecordedType(i), build.Type(i), build.Operand(i));
        var y = build.Output();
        return () =>
        {
            var values = new double[types.Length][];
            for (int i = 0; i < values.Length; i++)
            {
                var bytes = new byte[stored[i].Bytes];
                device.Download(new IlgpuBuffer(device, operands[i].Bytes), bytes);
                values[i] = Interpreter.FromBytes(bytes, stored[i].DType);
            }

            var back = new byte[result.Bytes];
            Interpreter.ToBytes(Interpreter.Evaluate(op, types, values), result.DType, back);
            device.Upload(back, new IlgpuBuffer(device, y.Bytes));
        };
    }
}
