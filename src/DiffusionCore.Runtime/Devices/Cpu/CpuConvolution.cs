namespace DiffusionCore.Runtime;

/// <summary>One of the kernels for convolution: few outputs or Winograd where <see cref="ConvolutionChoice"/> says so, else direct (1x1 is a matrix product).</summary>
internal sealed unsafe class CpuConv2d(CpuDevice device, ConvolutionKernel kernel) : CpuImplementation
{
    public override string Name => kernel switch { ConvolutionKernel.WinogradF4 => "winograd-f4", ConvolutionKernel.WinogradF2 => "winograd-f2", ConvolutionKernel.FewOutputs => "few-outputs", _ => "direct-tap" };

    public override string? Declines(Node node, ReadOnlySpan<TensorType> operands)
    {
        if (NeedsF32(node, operands) is { } reason) return reason;
        if (Core(node.Op).Core.Groups != 1) return "grouped";
        var shape = ShapeOf(node.Op, operands[0].Shape, operands[1].Shape);
        if (kernel == ConvolutionKernel.Direct) return Convolution.Declines(shape);
        if (device.Exact && kernel != ConvolutionKernel.FewOutputs) return "exact sums were asked for";
        return (kernel == ConvolutionKernel.FewOutputs ? FewOutputs.Declines(shape) : Winograd.Declines(shape)) ?? (ConvolutionChoice.Of(shape, exact: false) == kernel ? null : "another kernel is faster at this shape");
    }

    public override string? DeclinesWeight(Graph graph, Node node) => CpuBuild.SourceOf(graph, node.Inputs[1]) is null ? "W is computed, not stored" : null;

    public override WeightForm Form(int operand, DType stored) => operand == 1 ? WeightForm.Packed : WeightForm.Float;

    public override long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands)
    {
        var shape = ShapeOf(node.Op, operands[0].Shape, operands[1].Shape);
        var type = WeightUse.PackedType(operands[1].DType);
        return kernel switch
        {
            ConvolutionKernel.Direct => Convolution.ScratchBytes(shape, type, device.Pool.Count),
            ConvolutionKernel.FewOutputs => FewOutputs.ScratchBytes(shape),
            _ => Winograd.ScratchBytes(shape, (WinogradTile)kernel, type, device.Pool.Count),
        };
    }

    // Winograd's products; its transforms are not counted, they are additions for the most part.
    public override double ExecutedFlops(Node node, ReadOnlySpan<TensorType> operands)
    {
        double nominal = node.Op.Cost(operands, node.Type).Flops;
        if (kernel is not (ConvolutionKernel.WinogradF2 or ConvolutionKernel.WinogradF4)) return nominal;
        Shape w = operands[1].Shape, y = node.Type.Shape;
        long tile = (long)kernel, points = (tile + w[2] - 1) * (tile + w[3] - 1), tiles = y[0] * ((y[1] + tile - 1) / tile) * ((y[2] + tile - 1) / tile);
        double channels = (double)w[0] * w[1];
        return nominal - 2 * channels * w[2] * w[3] * (y[0] * y[1] * y[2]) + 2 * channels * points * tiles;
    }

    public override bool TakesPitch(Node node, int operand) => CpuEpilogue.TakesPitch(node, Core(node.Op).Epilogue, operand);

    public override CpuStep Build(CpuBuild build)
    {
        var (core, epilogue, _) = Core(build.Op);
        var shape = ShapeOf(build.Op, build.Shape(0), build.Shape(1));
        return new Step
        {
            Pool = build.Pool,
            Kernel = kernel,
            Shape = shape,
            X = build.Operand(0),
            Y = build.Output(),
            PitchX = build.Pitch(0),
            PitchY = build.ResultPitch(),
            Weights = build.Packed(1, shape.Outputs, shape.Channels, shape.KernelH * shape.KernelW).Pointer,
            Type = WeightUse.PackedType(build.Type(1).DType),
            Epilogue = CpuEpilogue.Bind(build, core.Bias, epilogue, 2, shape.Outputs),
            Scratch = build.Scratch(),
        };
    }

    internal static (Conv2dOp Core, EpilogueSpec Epilogue, int Factor) Core(Op op) => op switch
    {
        FusedConv2dOp fused => (fused.Core, fused.Epilogue, 1),
        UpsampledConv2dOp upsampled => (upsampled.Core, upsampled.Epilogue, upsampled.Factor),
        _ => ((Conv2dOp)op, EpilogueSpec.None, 1),
    };

    private static ConvShape ShapeOf(Op node, Shape x, Shape w)
    {
        var (op, _, factor) = Core(node);
        return new ConvShape
        {
            Batch = (int)x[0],
            Height = (int)x[1] * factor,
            Width = (int)x[2] * factor,
            Channels = (int)x[3],
            Outputs = (int)w[0],
            KernelH = (int)w[2],
            KernelW = (int)w[3],
            StrideH = op.StrideH,
            StrideW = op.StrideW,
            PadTop = op.PadTop,
            PadLeft = op.PadLeft,
            PadBottom = op.PadBottom,
            PadRight = op.PadRight,
            DilationH = op.DilationH,
            DilationW = op.DilationW,
            Upsampling = factor,
        };
    }

    private sealed class Step : CpuStep
    {
        public required WorkerPool Pool;
        public required ConvolutionKernel Kernel;
        public required ConvShape Shape;
        public required byte** X, Y;
        public required long PitchX, PitchY;
        public required byte* Weights, Scratch;
        public required WeightType Type;
        public required CpuEpilogue Epilogue;

        public override void Run()
        {
            var e = Epilogue.Resolve();
            switch (Kernel)
            {
                case ConvolutionKernel.Direct:
                    Convolution.Run(Pool, Shape, (float*)*X, PitchX, Weights, Type, (float*)*Y, PitchY, e, Scratch);
                    break;
                case ConvolutionKernel.FewOutputs:
                    FewOutputs.Run(Pool, Shape, (float*)*X, PitchX, Weights, Type, (float*)*Y, PitchY, e, Scratch);
                    break;
                default:
                    Winograd.Run(Pool, Shape, (WinogradTile)Kernel, (float*)*X, PitchX, Weights, Type, (float*)*Y, PitchY, e, Scratch);
                    break;
            }
        }
    }
}
