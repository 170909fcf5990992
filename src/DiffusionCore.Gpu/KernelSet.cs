using DiffusionCore.Kernels;
using ILGPU;
using ILGPU.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>The kernels of one accelerator, compiled at first use.</summary>
internal sealed class KernelSet(IlgpuDevice device)
{
    private readonly Dictionary<Delegate, Delegate> loaded = [];
    private readonly Lock access = new();

    public Action<KernelConfig, ArrayView<float>, ArrayView<Float4>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, LinearKernel.Shape, Epilogue> Linear =>
        Get(LinearKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, MatMulKernel.Shape> MatMul => Get(MatMulKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<Float4>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ConvolutionKernels.Shape, Epilogue> Convolution =>
        Get(ConvolutionKernels.Direct, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ConvolutionKernels.Shape, Epilogue> GroupedConvolution =>
        Get(ConvolutionKernels.Grouped, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, AttentionKernel.Shape> Attention =>
        Get(AttentionKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, NormKernels.GroupShape> GroupNorm =>
        Get(NormKernels.GroupNorm, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, int, int, int> GroupMoments => Get(SharedNormKernels.Moments, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, int, int, int, float, int> GivenGroupNorm =>
        Get(SharedNormKernels.Given, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, float> LayerNorm => Get(NormKernels.LayerNorm, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, float, int> RmsNorm => Get(NormKernels.RmsNorm, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, int> Softmax => Get(NormKernels.Softmax, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, int, int> Unary => Get(ElementwiseKernels.Unary, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, int, float, float> Affine => Get(ElementwiseKernels.Affine, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, Strides> Binary => Get(ElementwiseKernels.Binary, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, int, int> Geglu => Get(ElementwiseKernels.Geglu, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<T>, ArrayView<T>, int, int, int, Strides> Copy<T>()
        where T : unmanaged => Get(CopyKernels.Copy<T>, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, CopyKernels.Border> Pad => Get(CopyKernels.Pad, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<long>, ArrayView<float>, ArrayView<float>, ArrayView<int>, int, int, int> GatherWide => Get(CopyKernels.GatherWide, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<int>, ArrayView<float>, ArrayView<float>, ArrayView<int>, int, int, int> Gather => Get(CopyKernels.Gather, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<int>, ArrayView<float>, int> FromInt => Get(CastKernels.FromInt, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<long>, ArrayView<float>, int> FromLong => Get(CastKernels.FromLong, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<ushort>, ArrayView<float>, int, int> FromHalf => Get(CastKernels.FromHalf, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<ushort>, int, int> ToHalf => Get(CastKernels.ToHalf, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, int> Sinusoidal => Get(TimeEmbeddingKernels.Sinusoidal, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, int, int> Fourier => Get(TimeEmbeddingKernels.Fourier, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ResampleKernels.Map> Nearest => Get(ResampleKernels.Nearest, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ResampleKernels.Map, ResampleKernels.Window> Average => Get(ResampleKernels.Average, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ResampleKernels.Map, ResampleKernels.Window> Largest => Get(ResampleKernels.Largest, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<int>, ArrayView<float>, ArrayView<int>, ArrayView<float>, ArrayView<float>, ResampleKernels.Map, int, int> Resize =>
        Get(ResampleKernels.Resize, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ResampleKernels.Map, int, int, int, int> Fir => Get(ResampleKernels.Fir, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ConvolutionKernels.Shape, int> TransposedConvolution =>
        Get(TransposedConvolutionKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<long>, ArrayView<float>, int, int, int, long> Pick => Get(CopyKernels.Pick, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<long>, int, int, int> NearestCode => Get(CopyKernels.NearestCode, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, SamplerStepKernel.Arguments, GuidanceFactorsKernel.Options> GuidanceFactors =>
        Get(GuidanceFactorsKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>,
        ArrayView<float>, ArrayView<float>, ArrayView<float>, SamplerStepKernel.Arguments> SamplerStep => Get(SamplerStepKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, int, int, float, float> Quantile => Get(QuantileKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, ArrayView<float>, int> VectorNorm => Get(VectorNormKernel.Run, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, int, float, float> PeakMultiplyAdd => Get(PeakKernels.MultiplyAdd, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<float>, int, float, float> PeakMultiplyAddRun => Get(PeakKernels.MultiplyAddRun, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<Float4>, ArrayView<float>, int, int, int> PeakRead => Get(PeakKernels.Read, a => Accelerator.LoadStreamKernel(a));

    public Action<KernelConfig, ArrayView<Float4>, ArrayView<Float4>, int, int, int> PeakCopy => Get(PeakKernels.Copy, a => Accelerator.LoadStreamKernel(a));

    private Accelerator Accelerator => device.Accelerator;

    private TLoaded Get<TKernel, TLoaded>(TKernel kernel, Func<TKernel, TLoaded> load)
        where TKernel : Delegate
        where TLoaded : Delegate
    {
        lock (access)
        {
            if (loaded.TryGetValue(kernel, out var known)) return (TLoaded)known;
            try
            {
                var made = load(kernel);
                loaded[kernel] = made;
                return made;
            }
            catch (Exception e) when (IlgpuErrors.IsDevice(e))
            {
                throw IlgpuErrors.Wrap(device, $"kernel {kernel.Method.DeclaringType?.Name}.{kernel.Method.Name} cannot be compiled", e);
            }
        }
    }
}
