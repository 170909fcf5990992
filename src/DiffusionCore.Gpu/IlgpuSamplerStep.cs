using System.Runtime.InteropServices;
using DiffusionCore.Kernels;
using DiffusionCore.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>Binds the fused sampler step to device memory: coefficients are computed in double here and rounded once.</summary>
internal sealed class IlgpuSamplerStep(IlgpuDevice device) : IDisposable
{
    private IlgpuBuffer? numbers;

    public void Run(in SamplerStepArguments s)
    {
        if (s.Images == 0 || s.Elements == 0) return;
        long count = (long)s.Images * s.Elements, outputs = count * (s.VarianceChannels > 0 ? 2 : 1);
        if (s.State != DType.F32) throw new UsageException($"--state {s.State.ToString().ToLowerInvariant()}: {device.Name} keeps latents in f32; use --device cpu");
        if ((s.Rescale > 0 || s.Projected is not null) && !s.Guided) throw new ArgumentException("rescaled and projected guidance need both branches", nameof(s));
        if (outputs * ((s.Guided ? 2 : 1) + (s.Perturbed ? 1 : 0)) > int.MaxValue) throw new DeviceException($"{device.Name}: {s.Images} latents of {s.Elements} numbers at once are more than 2^31; use a smaller --batch");
        var f = StepNumbers.Of(s);
        bool known = s.Known is not null;
        var a = new SamplerStepKernel.Arguments
        {
            Count = (int)count, Elements = s.Elements, Guided = s.Guided ? 1 : 0, Conditional = s.Guided ? (int)outputs : 0, Guidance = (float)s.GuidanceScale,
            A0 = (float)f.A0, B0 = (float)f.B0, A1 = (float)f.A1, B1 = (float)f.B1, P = (float)f.P, Q = (float)f.Q,
            Clips = s.ThresholdRatio > 0 ? 2 : double.IsPositiveInfinity(s.Clip) ? 0 : 1, Clip = (float)s.Clip, Rederive = s.ClipRederivesEpsilon ? 1 : 0,
            X = (float)s.X, D = (float)s.D, E = (float)s.E, H1 = (float)s.H1, H2 = (float)s.H2, H3 = (float)s.H3, N = (float)s.N,
            History1 = s.H1 != 0 ? 1 : 0, History2 = s.H2 != 0 ? 1 : 0, History3 = s.H3 != 0 ? 1 : 0, Noise = s.N != 0 || known ? 1 : 0,
            Known = known ? 1 : 0, KnownSignal = (float)s.KnownSignal, KnownNoise = (float)s.KnownNoise,
            KeepDenoised = s.DenoisedOut is null ? 0 : 1, KeepEpsilon = s.EpsilonOut is null ? 0 : 1, KeepSample = s.SampleOut is null ? 0 : 1,
            VarianceChannels = s.VarianceChannels, VarianceMinLog = (float)s.VarianceMinLog, VarianceMaxLog = (float)s.VarianceMaxLog,
            HasPerturbed = s.Perturbed ? 1 : 0, Perturbed = s.Perturbed ? (int)(outputs * (s.Guided ? 2 : 1)) : 0, PerturbedScale = (float)s.PerturbedScale,
            Factors = s.Projected is not null ? 2 : s.Rescale > 0 ? 1 : 0, NumbersAt = s.Running is null ? 0 : (int)count, FactorsAt = s.Images,
            HasRunning = s.Running is null ? 0 : 1, KeepRunning = s.Running is null ? 0 : 1, Momentum = (float)(s.Projected?.Momentum ?? 0),
        };
        try
        {
            device.Accelerator.Bind();
            if (a.Factors != 0) Factors(s, a);
            if (s.LangevinRatio > 0)
            {
                Langevin(s, a);
                return;
            }

            if (s.ThresholdRatio > 0) Threshold(s, a);
            Launch(Views.Of(device, s, Numbers(s)), a);
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw IlgpuErrors.Wrap(device, "the sampler step", e);
        }
    }

    public void Dispose() => numbers?.Dispose();

    // Numbers of each image that guidance needs: thresholds come first in the buffer, two factors per image behind them.
    private void Factors(in SamplerStepArguments s, SamplerStepKernel.Arguments a)
    {
        var v = Views.Of(device, s, Numbers(s));
        var p = s.Projected ?? default;
        device.Kernels.GuidanceFactors(
            device.PerGroup(s.Images), v.Sample, v.Model, v.Numbers, a, new GuidanceFactorsKernel.Options { Rescale = (float)s.Rescale, Threshold = (float)p.Threshold, Parallel = (float)p.Parallel });
    }

    // A quantile needs the denoised estimate first: one pass that writes it where the update will overwrite it.
    private void Threshold(in SamplerStepArguments s, SamplerStepKernel.Arguments a)
    {
        if ((s.Work ?? s.DenoisedOut) is not { } work) throw new ArgumentException("thresholding needs Work or DenoisedOut as work space", nameof(s));
        if (s.Elements > QuantileKernel.MaximumElements) throw new DeviceException($"{device.Name}: thresholding counts up to {QuantileKernel.MaximumElements} numbers per latent, found {s.Elements}");
        var v = Views.Of(device, s, Numbers(s));
        var thresholds = v.Numbers.SubView(a.NumbersAt);
        v.Next = device.Own(work).As<float>();
        a.X = a.E = 0;
        a.D = 1;
        a.Clips = 0;
        Launch(v, Alone(a));
        double at = s.ThresholdRatio * (s.Elements - 1);
        int below = (int)at;
        device.Kernels.Quantile(device.PerGroup(s.Images), v.Next, thresholds, s.Elements, below, (float)(at - below), (float)s.ThresholdMaximum);
    }

    // The size of a Langevin step needs the norms first: one pass that writes eps, then one update per image with its own size.
    private void Langevin(in SamplerStepArguments s, SamplerStepKernel.Arguments a)
    {
        if ((s.Work ?? s.DenoisedOut) is not { } work) throw new ArgumentException("a Langevin step needs Work or DenoisedOut as work space", nameof(s));
        var v = Views.Of(device, s, Numbers(s));
        var epsilon = device.Own(work).As<float>();
        var first = Alone(a);
        (first.X, first.D, first.E) = (0, 0, 1);
        v.Next = epsilon;
        Launch(v, first);
        var norms = v.Numbers.SubView(a.NumbersAt);
        device.Kernels.VectorNorm(device.PerGroup(s.Images), epsilon, norms, s.Elements);
        device.Kernels.VectorNorm(device.PerGroup(s.Images), v.Noise, norms.SubView(s.Images), s.Elements);
        var read = new float[2 * s.Images];
        norms.SubView(0, read.Length).CopyToCPU(device.Accelerator.DefaultStream, read.AsSpan());
        device.Accelerator.DefaultStream.Synchronize();
        double gradient = 0, noise = 0;
        for (int i = 0; i < s.Images; i++)
        {
            gradient += (double)read[i] / s.Images;
            noise += (double)read[s.Images + i] / s.Images;
        }

        for (int i = 0; i < s.Images; i++)
        {
            double ratio = s.LangevinRatio * (s.BatchNorms ? noise / gradient : (double)read[s.Images + i] / read[i]), size = 2 * ratio * ratio;
            // eps is at hand, so it serves as a history term and the network's output does not matter.
            var one = a;
            (one.Count, one.E, one.H1, one.History1, one.History2, one.History3) = (s.Elements, 0, (float)(s.E * size), 1, 0, 0);
            one.N = (float)(s.N * Math.Sqrt(2 * size));
            one.KeepDenoised = one.KeepEpsilon = one.KeepSample = one.Factors = one.HasPerturbed = one.HasRunning = one.KeepRunning = 0;
            var part = Views.Of(device, s, Numbers(s));
            part.History1 = epsilon;
            Launch(part.From((long)i * s.Elements, a.VarianceChannels > 0 ? 2L * i * s.Elements : (long)i * s.Elements), one);
        }
    }

    /// <summary>The arguments of a pass that keeps nothing and adds nothing.</summary>
    private static SamplerStepKernel.Arguments Alone(SamplerStepKernel.Arguments a)
    {
        a.History1 = a.History2 = a.History3 = a.Noise = a.Known = a.KeepDenoised = a.KeepEpsilon = a.KeepSample = a.KeepRunning = 0;
        return a;
    }

    // Three numbers per image: behind the running difference, which has room for them, or in memory of this object.
    private ArrayView<float> Numbers(in SamplerStepArguments s)
    {
        long bytes = 3L * s.Images * sizeof(float);
        if (s.Running is { } running)
            return running.Bytes >= (long)s.Images * s.Elements * sizeof(float) + bytes ? device.Own(running).As<float>() : throw new ArgumentException("the running difference needs room for three more numbers per image", nameof(s));
        if (numbers is null || numbers.Bytes < bytes)
        {
            numbers?.Dispose();
            numbers = device.AllocateMemory(bytes, "the numbers of a sampler step");
        }

        return numbers.As<float>();
    }

    private void Launch(in Views v, in SamplerStepKernel.Arguments a) => device.Kernels.SamplerStep(
        device.PerItem(a.Count), v.Sample, v.Model, v.History1, v.History2, v.History3, v.Noise, v.Known, v.Mask, v.Numbers, v.Next, v.Denoised, v.Epsilon,
        v.Before, a);

    /// <summary>The arrays of a step; where there is none the latent stands in, because a kernel's view must be some memory.</summary>
    private struct Views
    {
        public ArrayView<float> Sample, Model, History1, History2, History3, Noise, Known, Mask, Numbers, Next, Denoised, Epsilon, Before;

        public static Views Of(IlgpuDevice device, in SamplerStepArguments s, ArrayView<float> numbers)
        {
            var sample = device.Own(s.Sample).As<float>();
            if ((s.H1 != 0 && s.History1 is null) || (s.H2 != 0 && s.History2 is null) || (s.H3 != 0 && s.History3 is null) || ((s.N != 0 || s.Known is not null) && s.Noise is null)
                || (s.Known is null != s.Mask is null)) throw new ArgumentException("a term has a coefficient but no buffer", nameof(s));
            return new Views
            {
                Sample = sample, Model = device.Own(s.Model).As<float>(), Next = device.Own(s.Next).As<float>(), History1 = At(device, s.History1, sample), History2 = At(device, s.History2, sample),
                History3 = At(device, s.History3, sample), Noise = At(device, s.Noise, sample), Known = At(device, s.Known, sample), Mask = At(device, s.Mask, sample),
                Numbers = numbers, Denoised = At(device, s.DenoisedOut, sample), Epsilon = At(device, s.EpsilonOut, sample), Before = At(device, s.SampleOut, sample),
            };
        }

        /// <summary>The same arrays from an element of the latents on, the model's output from an element of its own.</summary>
        public readonly Views From(long at, long model) => new()
        {
            Sample = Sample.SubView(at), Model = Model.SubView(model), History1 = History1.SubView(at), History2 = History2.SubView(at), History3 = History3.SubView(at), Noise = Noise.SubView(at),
            Known = Known.SubView(at), Mask = Mask.SubView(at), Numbers = Numbers, Next = Next.SubView(at), Denoised = Denoised.SubView(at), Epsilon = Epsilon.SubView(at), Before = Before.SubView(at),
        };

        private static ArrayView<float> At(IlgpuDevice device, DeviceBuffer? buffer, ArrayView<float> other) => buffer is null ? other : device.Own(buffer).As<float>();
    }
}
