namespace DiffusionCore.Runtime;

/// <summary>The CPU's ordered lists: the first that accepts wins. The reference comes last and is never fast.</summary>
internal static class CpuImplementations
{
    public static IReadOnlyList<IImplementation> Of(Op op, CpuDevice device)
    {
        CpuImplementation[] own = op switch
        {
            LinearOp or FusedLinearOp => [new CpuLinear(device)],
            Conv2dOp or FusedConv2dOp or UpsampledConv2dOp => [new CpuConv2d(device, ConvolutionKernel.FewOutputs), new CpuConv2d(device, ConvolutionKernel.WinogradF4), new CpuConv2d(device, ConvolutionKernel.WinogradF2), new CpuConv2d(device, ConvolutionKernel.Direct)],
            MatMulOp => [new CpuMatMul(device)],
            AttentionOp => [new CpuAttention(device)],
            GroupNormOp or FusedGroupNormOp => [new CpuGroupNorm(device)],
            GroupNormGradientOp => [new CpuGroupNormGradient(device)],
            LayerNormOp => [new CpuLayerNorm()],
            RmsNormOp => [new CpuRmsNorm()],
            SoftmaxOp => [new CpuSoftmax()],
            UnaryOp => [new CpuUnary()],
            BinaryOp => [new CpuBinary()],
            AffineOp => [new CpuAffine()],
            LinearGegluOp => [new CpuLinearGeglu(device)],
            GegluOp => [new CpuGeglu()],
            CastOp => [new CpuCast()],
            TransposeOp or SliceOp or ExpandOp => [new CpuStridedCopy()],
            ConcatOp => [new CpuConcat()],
            PadOp => [new CpuPad()],
            EmbeddingOp => [new CpuEmbedding()],
            PickTokenOp => [new CpuPickToken()],
            UpsampleNearestOp => [new CpuUpsample()],
            AveragePoolOp => [new CpuAveragePool()],
            FirResampleOp => [new CpuFir()],
            SinusoidalEmbeddingOp => [new CpuSinusoidal()],
            FourierEmbeddingOp => [new CpuFourier()],
            NearestCodeOp => [new CpuNearestCode()],
            GroupMomentsOp => [new CpuGroupMoments(device)],
            GivenGroupNormOp => [new CpuGivenGroupNorm(device)],
            MaxPoolOp => [new CpuMaxPool()],
            ResizeOp => [new CpuResize()],
            ConvTranspose2dOp => [new CpuConvTranspose2d()],
            TokenMatchOp => [new CpuTokenMatch()],
            TokenMergeOp => [new CpuTokenMerge()],
            TokenUnmergeOp => [new CpuTokenUnmerge()],
            HaarOp or InverseHaarOp => [new CpuHaar()],
            _ => [],
        };
        return [.. own, new CpuReference()];
    }
}

/// <summary>The interpreter as an implementation: any operation and type, in double, on one thread. Allocates.</summary>
internal sealed unsafe class CpuReference : CpuImplementation
{
    public override string Name => "reference";

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands)
    {
        foreach (var t in operands)
            if (t.DType == DType.F8E4M3) return "F8E4M3 has no reference";
        return null;
    }

    public override CpuStep Build(CpuBuild build)
    {
        var operands = new byte**[build.OperandCount];
        var types = new TensorType[operands.Length];
        for (int i = 0; i < operands.Length; i++)
        {
            // A weight's slot holds its F32 form whatever the file has.
            operands[i] = build.Operand(i);
            types[i] = build.Source(i) is null ? build.Type(i) : build.Type(i) with { DType = DType.F32 };
        }

        return new Step { Op = build.Op, Types = types, Operands = operands, Y = build.Output(), Result = build.Result };
    }

    private sealed class Step : CpuStep
    {
        public required Op Op;
        public required TensorType[] Types;
        public required byte**[] Operands;
        public required byte** Y;
        public required TensorType Result;

        public override void Run()
        {
            var x = new double[Types.Length][];
            for (int i = 0; i < x.Length; i++) x[i] = Interpreter.FromBytes(new ReadOnlySpan<byte>(*Operands[i], checked((int)Types[i].Bytes)), Types[i].DType);
            Interpreter.ToBytes(Interpreter.Evaluate(Op, Types, x), Result.DType, new Span<byte>(*Y, checked((int)Result.Bytes)));
        }
    }
}
