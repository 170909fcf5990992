using DiffusionCore.Kernels;
using DiffusionCore.Runtime;
using ILGPU;

namespace DiffusionCore.Gpu;

/// <summary>Binds the fused sampler step to device memory: coefficients are computed in double here and rounded once.</summary>
internal sealed class IlgpuSamplerStep(IlgpuDevice device) : IDisposable
{
    private IlgpuBuffer? thresholds;

    public void Run(in SamplerStepArguments s)
    {
        if (s.Images == 0 || s.Elements == 0) return;
        long count = (long)s.Images * s.Elements, outputs = count * (s.VarianceChannels > 0 ? 2 : 1);
        if (outputs * (s.Guided ? 2 : 1) > int.MaxValue) throw new DeviceException($"{device.Name}: {s.Images} latents of {s.Elements} numbers at once are more than 2^31; use a smaller --batch");
        var f = StepNumbers.Of(s);
        var a = new SamplerStepKernel.Arguments
        {
            Count = (int)count, Elements = s.Elements, Guided = s.Guided ? 1 : 0, Conditional = s.Guided ? (int)outputs : 0, Guidance = (float)s.GuidanceScale,
            A0 = (float)f.A0, B0 = (float)f.B0, A1 = (float)f.A1, B1 = (float)f.B1, P = (float)f.P, Q = (float)f.Q,
            Clips = s.ThresholdRatio > 0 ? 2 : double.IsPositiveInfinity(s.Clip) ? 0 : 1, Clip = (float)s.Clip, Rederive = s.ClipRederivesEpsilon ? 1 : 0,
            X = (float)s.X, D = (float)s.D, E = (float)s.E, H1 = (float)s.H1, H2 = (float)s.H2, H3 = (float)s.H3, N = (float)s.N,
            History1 = s.H1 != 0 ? 1 : 0, History2 = s.H2 != 0 ? 1 : 0, History3 = s.H3 != 0 ? 1 : 0, Noise = s.N != 0 ? 1 : 0,
            KeepDenoised = s.DenoisedOut is null ? 0 : 1, KeepEpsilon = s.EpsilonOut is null ? 0 : 1, KeepSample = s.SampleOut is null ? 0 : 1,
            VarianceChannels = s.VarianceChannels, VarianceMinLog = (float)s.VarianceMinLog, VarianceMaxLog = (float)s.VarianceMaxLog,
        };
        try
        {
            if (s.ThresholdRatio > 0) Threshold(s, a);
            Launch(s, a, device.Own(s.Next).As<float>());
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw IlgpuErrors.Wrap(device, "the sampler step", e);
        }
    }

    public void Dispose() => thresholds?.Dispose();

    // A quantile needs the denoised estimate first: one pass that writes it where the update will overwrite it.
    private void Threshold(in SamplerStepArguments s, SamplerStepKernel.Arguments a)
    {
        if (s.DenoisedOut is null) throw new ArgumentException("thresholding needs DenoisedOut as work space", nameof(s));
        if (s.Elements > QuantileKernel.MaximumElements) throw new DeviceException($"{device.Name}: thresholding counts up to {QuantileKernel.MaximumElements} numbers per latent, found {s.Elements}");
        if (thresholds is null || thresholds.Bytes < (long)s.Images * sizeof(float))
        {
            thresholds?.Dispose();
            thresholds = device.AllocateMemory((long)s.Images * sizeof(float), "the thresholds");
        }

        var work = device.Own(s.DenoisedOut).As<float>();
        a.X = a.E = 0;
        a.D = 1;
        a.Clips = a.History1 = a.History2 = a.History3 = a.Noise = a.KeepDenoised = a.KeepEpsilon = a.KeepSample = 0;
        Launch(s, a, work);
        double at = s.ThresholdRatio * (s.Elements - 1);
        int below = (int)at;
        device.Kernels.Quantile(device.PerGroup(s.Images), work, thresholds.As<float>(), s.Elements, below, (float)(at - below), (float)s.ThresholdMaximum);
    }

    private void Launch(in SamplerStepArguments s, SamplerStepKernel.Arguments a, ArrayView<float> next)
    {
        // A view that the kernel does not read may be any: the latent stands in.
        var sample = device.Own(s.Sample).As<float>();
        device.Kernels.SamplerStep(
            device.PerItem(a.Count), sample, device.Own(s.Model).As<float>(), At(s.History1, a.History1), At(s.History2, a.History2), At(s.History3, a.History3), At(s.Noise, a.Noise),
            a.Clips == 2 ? thresholds!.As<float>() : sample, next, At(s.DenoisedOut, a.KeepDenoised), At(s.EpsilonOut, a.KeepEpsilon), At(s.SampleOut, a.KeepSample), a);

        ArrayView<float> At(DeviceBuffer? buffer, int used) => used == 0 ? sample : device.Own(buffer ?? throw new ArgumentException("a term has a coefficient but no buffer")).As<float>();
    }
}
