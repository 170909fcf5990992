using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Applies one evaluation's update to latents on a device, through the fused step. Allocates nothing but for measures.</summary>
public sealed class DeviceStep(Device device, SamplerPlan plan, DeviceBuffer sample, DeviceBuffer model, DeviceBuffer noise, DeviceBuffer? work, DeviceBuffer[] slots)
{
    // Terms that the fused step takes in one pass.
    private const int Terms = 3;

    private float[]? a, b, c;

    /// <summary>The parts of <paramref name="step"/> that belong to the evaluation are filled in; images, elements, clipping and the guidance scale are the caller's.</summary>
    public void Apply(Evaluation e, ref SamplerStepArguments step, double guidance)
    {
        bool reads = e.Evaluates || e.Rereads;
        var target = e.Target is { } slot ? slots[slot] : sample;
        (bool guided, int channels, double threshold) = (step.Guided, step.VarianceChannels, step.ThresholdRatio);
        step.Sample = sample;
        // Without the network its output may not have been written yet: the latent stands in, times zero.
        step.Model = reads ? model : sample;
        step.Guided = guided && reads;
        step.GuidanceScale = e.Guidance?.Of(guidance) ?? guidance;
        step.VarianceChannels = reads ? channels : 0;
        step.ThresholdRatio = reads ? threshold : 0;
        step.Prediction = plan.Prediction;
        (step.Alpha, step.Sigma, step.Numbers) = (e.Alpha, e.Sigma, e.Reading);
        (step.LangevinRatio, step.BatchNorms) = (e.LangevinRatio, plan.BatchNorms);
        (step.X, step.D, step.E, step.N) = (e.X, e.D, e.E, e.N);
        step.Noise = e.DrawsNoise ? noise : null;
        step.Next = target;
        var kept = e.Keep == Kept.None ? null : slots[e.KeepSlot];
        step.DenoisedOut = e.Keep == Kept.Denoised ? kept : work;
        step.EpsilonOut = e.Keep == Kept.Epsilon ? kept : null;
        step.SampleOut = e.SampleSlot >= 0 ? slots[e.SampleSlot] : e.Keep == Kept.Sample ? kept : null;
        (step.VarianceMinLog, step.VarianceMaxLog) = e.LearnedVariance ?? (0, 0);
        History(e, 0, ref step);
        device.RunSamplerStep(step);

        // More terms: passes that add to the result.
        step.Guided = false;
        (step.D, step.E, step.N, step.Noise, step.VarianceChannels, step.ThresholdRatio, step.LangevinRatio) = (0, 0, 0, null, 0, 0, 0);
        (step.DenoisedOut, step.EpsilonOut, step.SampleOut, step.X, step.Sample, step.Model, step.Numbers) = (null, null, null, 1, target, target, null);
        for (int first = Terms; first < e.History.Count; first += Terms)
        {
            History(e, first, ref step);
            device.RunSamplerStep(step);
        }

        (step.Guided, step.VarianceChannels, step.ThresholdRatio) = (guided, channels, threshold);
    }

    /// <summary>What the evaluation measures, after its update; NaN where it measures nothing.</summary>
    public double Measure(Evaluation e)
    {
        if (e.Measure is not { } measure) return double.NaN;
        int count = (int)(sample.Bytes / sizeof(float));
        device.Download(sample, Bytes(ref a, count));
        device.Download(slots[measure.Slot], Bytes(ref b, count));
        device.Download(slots[measure.Reference], Bytes(ref c, count));
        return measure.Of<float>(a, b, c);
    }

    private static Span<byte> Bytes(ref float[]? array, int count) => MemoryMarshal.AsBytes((array ??= new float[count]).AsSpan());

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
