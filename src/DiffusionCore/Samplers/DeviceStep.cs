using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Applies one evaluation's update to latents on a device, through the fused step. Allocates nothing but for measures.</summary>
public sealed class DeviceStep(Device device, SamplerPlan plan, DeviceBuffer sample, DeviceBuffer model, DeviceBuffer noise, DeviceBuffer? work, DeviceBuffer[] slots)
{
    // Terms that the fused step takes in one pass.
    private const int Terms = 3;

    private float[]? a, b, c;
    private double[]? wideA, wideB, wideC;

    /// <summary>The running difference of projected guidance with momentum, see <see cref="SamplerStepArguments.Running"/>.</summary>
    public DeviceBuffer? Running { get; init; }

    /// <summary>With latents in F64: the current one in F32, as the network reads it. Null with latents in F32.</summary>
    public DeviceBuffer? Single { get; init; }

    /// <summary>The image of which a part is given, and the mask of that part, for plans that say Known.</summary>
    public DeviceBuffer? Known { get; init; }

    public DeviceBuffer? Mask { get; init; }

    /// <summary>The parts of <paramref name="step"/> that belong to the evaluation are filled in; images, elements, clipping and the guidance scale are the caller's.</summary>
    public void Apply(Evaluation e, ref SamplerStepArguments step, double guidance)
    {
        bool reads = e.Evaluates || e.Rereads;
        var target = e.Target is { } slot ? slots[slot] : sample;
        (bool guided, int channels, double threshold, bool perturbed) = (step.Guided, step.VarianceChannels, step.ThresholdRatio, step.Perturbed);
        step.Sample = sample;
        // Without the network its output may not have been written yet: the latent stands in, times zero.
        step.Model = reads ? model : Single ?? sample;
        step.Guided = guided && reads;
        step.GuidanceScale = e.Guidance?.Of(guidance) ?? guidance;
        step.State = Single is null ? DType.F32 : DType.F64;
        Form(e, ref step, perturbed && reads);
        (step.Known, step.Mask, step.KnownSignal, step.KnownNoise) = e.Known is { } level ? (Known, Mask, level.Signal, level.Noise) : (null, null, 0, 0);
        step.VarianceChannels = reads ? channels : 0;
        step.ThresholdRatio = reads ? threshold : 0;
        step.Prediction = plan.Prediction;
        (step.Alpha, step.Sigma, step.Numbers) = (e.Alpha, e.Sigma, e.Reading);
        (step.LangevinRatio, step.BatchNorms) = (e.LangevinRatio, plan.BatchNorms);
        (step.X, step.D, step.E, step.N) = (e.X, e.D, e.E, e.N);
        step.Noise = e.DrawsNoise ? noise : null;
        step.Next = target;
        step.NextSingle = e.Target is null ? Single : null;
        step.Work = work;
        var kept = e.Keep == Kept.None ? null : slots[e.KeepSlot];
        step.DenoisedOut = e.Keep == Kept.Denoised ? kept : null;
        step.EpsilonOut = e.Keep == Kept.Epsilon ? kept : null;
        step.SampleOut = e.SampleSlot >= 0 ? slots[e.SampleSlot] : e.Keep == Kept.Sample ? kept : null;
        (step.VarianceMinLog, step.VarianceMaxLog) = e.LearnedVariance ?? (0, 0);
        History(e, 0, ref step);
        device.RunSamplerStep(step);

        // More terms: passes that add to the result.
        step.Guided = step.Perturbed = false;
        (step.Rescale, step.Projected, step.Running, step.Known, step.Mask) = (0, null, null, null, null);
        (step.D, step.E, step.N, step.Noise, step.VarianceChannels, step.ThresholdRatio, step.LangevinRatio) = (0, 0, 0, null, 0, 0, 0);
        (step.DenoisedOut, step.EpsilonOut, step.SampleOut, step.X, step.Sample, step.Model, step.Numbers) = (null, null, null, 1, target, Single ?? target, null);
        for (int first = Terms; first < e.History.Count; first += Terms)
        {
            History(e, first, ref step);
            device.RunSamplerStep(step);
        }

        (step.Guided, step.VarianceChannels, step.ThresholdRatio, step.Perturbed) = (guided, channels, threshold, perturbed);
    }

    /// <summary>What the evaluation measures, after its update; NaN where it measures nothing.</summary>
    public double Measure(Evaluation e)
    {
        if (e.Measure is not { } measure) return double.NaN;
        if (Single is not null)
        {
            int wide = (int)(sample.Bytes / sizeof(double));
            device.Download(sample, Bytes(ref wideA, wide));
            device.Download(slots[measure.Slot], Bytes(ref wideB, wide));
            device.Download(slots[measure.Reference], Bytes(ref wideC, wide));
            return measure.Of<double>(wideA, wideB, wideC);
        }

        int count = (int)(sample.Bytes / sizeof(float));
        device.Download(sample, Bytes(ref a, count));
        device.Download(slots[measure.Slot], Bytes(ref b, count));
        device.Download(slots[measure.Reference], Bytes(ref c, count));
        return measure.Of<float>(a, b, c);
    }

    private static Span<byte> Bytes<T>(ref T[]? array, int count)
        where T : unmanaged => MemoryMarshal.AsBytes((array ??= new T[count]).AsSpan());

    private void Form(Evaluation e, ref SamplerStepArguments step, bool perturbed)
    {
        step.PerturbedScale = plan.Form?.Perturbed is { } third ? e.PerturbedScale ?? third.Scale : 0;
        step.Perturbed = perturbed && step.PerturbedScale != 0;
        step.Rescale = step.Guided ? plan.Form?.Rescale ?? 0 : 0;
        // A scale of 1 is the conditional prediction: nothing to project, and the difference is not remembered.
        step.Projected = step.Guided && step.GuidanceScale != 1 && plan.Form?.Projected is { } p ? new Projection(p.Threshold, p.Momentum, p.Parallel) : null;
        step.Running = step.Projected is null ? null : Running;
    }

    private void History(Evaluation e, int first, ref SamplerStepArguments step)
    {
        step.H1 = step.H2 = step.H3 = 0;
        for (int i = 0; i < Terms && first + i < e.History.Count; i++)
        {
            var term = e.History[first + i];
            if (i == 0) (step.History1, step.H1) = (slots[term.Slot], term.Coefficient);
            else if (i == 1) (step.History2, step.H2) = (slots[term.Slot], term.Coefficient);
            else (step.History3, step.H3) = (slots[term.Slot], term.Coefficient);
        }
    }
}
