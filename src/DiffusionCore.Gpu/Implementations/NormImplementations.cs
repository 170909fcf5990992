using DiffusionCore.Kernels;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

internal sealed class IlgpuGroupNorm : IlgpuImplementation
{
    public override string Name => "group-per-set";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var fused = build.Op as FusedGroupNormOp;
        var core = fused?.Core ?? (GroupNormOp)build.Op;
        var s = build.Shape(0);
        bool modulated = fused?.Modulated ?? false;
        int next = core.Affine ? 3 : 1;
        var shape = new NormKernels.GroupShape
        {
            Pixels = (int)(s.Count / s[0] / s[-1]), Channels = (int)s[-1], Groups = core.Groups, Affine = core.Affine ? 1 : 0, Modulated = modulated ? 1 : 0,
            Activation = Functions.Of(fused?.Activation ?? default), Epsilon = core.Epsilon,
        };
        var config = build.Device.PerGroup(s[0] * core.Groups);
        var (kernel, x, y) = (build.Kernels.GroupNorm, build.Operand(0), build.Output());
        Slot gamma = core.Affine ? build.Operand(1) : x, beta = core.Affine ? build.Operand(2) : x, scale = modulated ? build.Operand(next) : x, shift = modulated ? build.Operand(next + 1) : x;
        return () => kernel(config, x.Floats, gamma.Floats, beta.Floats, scale.Floats, shift.Floats, y.Floats, shape);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuLayerNorm : IlgpuImplementation
{
    public override string Name => "group-per-row";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (LayerNormOp)build.Op;
        int channels = (int)build.Shape(0)[-1];
        var (config, kernel, x, y) = (build.Device.PerGroup(build.Count / channels), build.Kernels.LayerNorm, build.Operand(0), build.Output());
        Slot gamma = op.Affine ? build.Operand(1) : x, beta = op.Affine ? build.Operand(2) : x;
        return () => kernel(config, x.Floats, gamma.Floats, beta.Floats, y.Floats, channels, op.Affine ? 1 : 0, op.Epsilon);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuRmsNorm : IlgpuImplementation
{
    public override string Name => "group-per-row";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (RmsNormOp)build.Op;
        int channels = (int)build.Shape(0)[-1];
        var (config, kernel, x, gamma, y) = (build.Device.PerGroup(build.Count / channels), build.Kernels.RmsNorm, build.Operand(0), build.Operand(op.Affine ? 1 : 0), build.Output());
        return () => kernel(config, x.Floats, gamma.Floats, y.Floats, channels, op.Affine ? 1 : 0, op.Epsilon, op.Outside ? 1 : 0);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuSoftmax : IlgpuImplementation
{
    public override string Name => "group-per-row";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        int channels = (int)build.Shape(0)[-1];
        var (config, kernel, x, y) = (build.Device.PerGroup(build.Count / channels), build.Kernels.Softmax, build.Operand(0), build.Output());
        return () => kernel(config, x.Floats, y.Floats, channels);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuGroupMoments : IlgpuImplementation
{
    public override string Name => "group-per-set";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (GroupMomentsOp)build.Op;
        var s = build.Shape(0);
        int height = (int)s[1], width = (int)s[2], channels = (int)s[3];
        var (config, kernel, x, area, y) = (build.Device.PerGroup(s[0] * op.Groups), build.Kernels.GroupMoments, build.Operand(0), build.Operand(1), build.Output());
        return () => kernel(config, x.Floats, area.Floats, y.Floats, height, width, channels, op.Groups, op.Scale);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}

internal sealed class IlgpuGivenGroupNorm : IlgpuImplementation
{
    public override string Name => "elementwise";

    public override Action Build(IlgpuBuild build)
    {
        if (build.Count == 0) return Nothing;
        var op = (GivenGroupNormOp)build.Op;
        int count = build.Count, each = (int)(count / build.Shape(0)[0]), channels = (int)build.Shape(0)[-1], activation = Functions.Of(op.Activation);
        var (config, kernel, x, moments, y) = (build.Device.PerItem(count), build.Kernels.GivenGroupNorm, build.Operand(0), build.Operand(1), build.Output());
        Slot gamma = op.Core.Affine ? build.Operand(2) : x, beta = op.Core.Affine ? build.Operand(3) : x;
        return () => kernel(config, x.Floats, moments.Floats, gamma.Floats, beta.Floats, y.Floats, count, each, channels, op.Core.Groups, op.Core.Affine ? 1 : 0, op.Core.Epsilon, activation);
    }

    protected override string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands) => NeedsF32(node, operands);
}
