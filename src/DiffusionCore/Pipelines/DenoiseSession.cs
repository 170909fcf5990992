using System.Runtime.InteropServices;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <summary>
/// One prepared network for a batch of a given size, with the memory of its latents. <see cref="Evaluate"/> is one evaluation of the network and
/// the fused update after it; it allocates nothing.
/// </summary>
public sealed class DenoiseSession : IDisposable
{
    private readonly Device device;
    private readonly SamplerPlan sampler;
    private readonly Executable executable;
    private readonly DeviceBuffer sample, noise, time, scale, output;
    private readonly DeviceBuffer? classes, work;
    private readonly DeviceBuffer[] slots;
    private readonly float[] staged;
    private readonly float[] number = new float[1];
    private LatentNoise? source;
    private SamplerStepArguments step;

    internal DenoiseSession(Device device, ModelFolder model, WeightStore weights, SamplerPlan sampler, int images, int height, int width, bool guided, long? memoryLimit)
    {
        this.device = device;
        this.sampler = sampler;
        var config = model.UNet.Config;
        (Images, Height, Width, Channels, Guided) = (images, height, width, config.InChannels, guided);
        Variance = config.OutChannels == 2 * config.InChannels;
        if (sampler.Evaluations.Any(e => e.Known is not null)) throw new UsageException($"sampler {sampler.Name} fills the missing part of an image: it needs an image and a mask");
        if (!Variance && config.OutChannels != config.InChannels) throw new ModelFileException(model.Path, "out_channels", $"{config.OutChannels} outputs for {config.InChannels} inputs: expected as many, or twice as many");

        Plan = device.Plan(Record(model, sampler, images, height, width, guided));
        long available = device.MemoryBytes, limit = Math.Min(memoryLimit ?? available, available);
        if (Plan.ArenaBytes + weights.Bytes > limit)
        {
            throw new MemoryException(
                $"{images} image{(images == 1 ? "" : "s")} of {width}x{height} at once need {Plan.ArenaBytes / 1e6:F0} MB beside {weights.Bytes / 1e6:F0} MB of weights, "
                + $"{(limit == memoryLimit ? "the limit is" : $"{device.Name} has")} {limit / 1e6:F0} MB; use a smaller --batch or --size{(limit == memoryLimit ? ", or a larger --memory-limit" : "")}");
        }

        executable = device.Prepare(Plan, weights);
        long bytes = (long)images * Elements * sizeof(float);
        sample = device.Allocate(bytes);
        noise = device.Allocate(bytes);
        time = device.Allocate(sizeof(float));
        scale = device.Allocate(sizeof(float));
        output = executable.Output("prediction");
        work = sampler.ThresholdRatio > 0 || sampler.Evaluations.Any(e => e.LangevinRatio > 0) ? device.Allocate(bytes) : null;
        slots = [.. Enumerable.Range(0, sampler.Slots).Select(_ => device.Allocate(bytes))];
        executable.Bind("sample", sample);
        executable.Bind("timestep", time);
        if (Scales(sampler)) executable.Bind("input_scale", scale);
        if (model.Classes is not null)
        {
            classes = device.Allocate((guided ? 2L : 1L) * images * sizeof(long));
            executable.Bind("class_labels", classes);
        }

        staged = new float[images * Elements];
    }

    public int Images { get; }

    public int Height { get; }

    public int Width { get; }

    public int Channels { get; }

    public bool Guided { get; }

    /// <summary>Whether the network also predicts the variance.</summary>
    public bool Variance { get; }

    public Plan Plan { get; }

    public Executable Executable => executable;

    /// <summary>Numbers in one latent.</summary>
    public int Elements => Height * Width * Channels;

    private static bool Scales(SamplerPlan sampler) => sampler.Evaluations.Any(e => e.InputScale != 1);

    /// <summary>The network with what a sampler needs around it: input scaling, both branches of guidance in one batch.</summary>
    public static Graph Record(ModelFolder model, SamplerPlan sampler, int images, int height, int width, bool guided)
    {
        var g = new Graph();
        var x = g.Input("sample", new Shape(images, height, width, model.UNet.Config.InChannels));
        var t = g.Input("timestep", new Shape(1));
        if (Scales(sampler)) x = g.Times(x, g.Input("input_scale", new Shape(1)));
        if (guided) x = g.Concat(0, x, x);
        Value? classes = model.Classes is null ? null : g.Input("class_labels", new Shape(x.Shape[0]), DType.I64, Rate.Request);
        g.Output("prediction", model.UNet.Record(g, x, t, classes));
        return g;
    }

    /// <summary>Draws the first latents and sets the classes.</summary>
    public void Start(DenoiseStart start)
    {
        source = new LatentNoise(start.Noise, Images, Math.Max(start.Total, start.FirstImage + Images), Height, Width, Channels);
        source.Start(start.Seeds, start.FirstImage);
        if (start.Variation is { } variation) source.DrawVaried(staged, variation, sampler.InitialSigma);
        else source.Draw(staged, sampler.InitialSigma);
        device.Upload(MemoryMarshal.AsBytes(staged.AsSpan()), sample);
        if (classes is not null)
        {
            var ids = new long[(Guided ? 2 : 1) * Images];
            for (int i = 0; i < Images; i++)
            {
                if (Guided) ids[i] = start.NullClass;
                ids[(Guided ? Images : 0) + i] = start.Classes[i];
            }

            device.Upload(MemoryMarshal.AsBytes(ids.AsSpan()), classes);
        }

        executable.Run(Rate.Request);
        step = new SamplerStepArguments
        {
            Images = Images, Elements = Elements, Sample = sample, Model = output, Guided = Guided, GuidanceScale = start.Guidance, Prediction = sampler.Prediction, Next = sample,
            Clip = sampler.Clip, ClipRederivesEpsilon = sampler.ClipRederivesEpsilon, ThresholdRatio = sampler.ThresholdRatio, ThresholdMaximum = sampler.ThresholdMaximum,
            VarianceChannels = Variance ? Channels : 0,
        };
    }

    /// <summary>Evaluation <paramref name="index"/> of the sampler's plan.</summary>
    public void Evaluate(int index)
    {
        var e = sampler.Evaluations[index];
        if (e.Evaluates)
        {
            Put(time, (float)e.Time);
            Put(scale, (float)e.InputScale);
            executable.Run(Rate.Step);
        }

        if (e.DrawsNoise)
        {
            for (int k = 0; k <= e.UnusedDraws; k++) source!.Draw(staged);
            device.Upload(MemoryMarshal.AsBytes(staged.AsSpan()), noise);
        }

        step.Alpha = e.Alpha;
        step.Sigma = e.Sigma;
        step.Numbers = e.Reading;
        (step.LangevinRatio, step.BatchNorms) = (e.LangevinRatio, sampler.BatchNorms);
        step.X = e.X;
        step.D = e.D;
        step.E = e.E;
        step.N = e.N;
        step.Noise = e.DrawsNoise ? noise : null;
        step.H1 = step.H2 = step.H3 = 0;
        for (int i = 0; i < e.History.Count; i++)
        {
            var term = e.History[i];
            if (i == 0) (step.History1, step.H1) = (slots[term.Slot], term.Coefficient);
            else if (i == 1) (step.History2, step.H2) = (slots[term.Slot], term.Coefficient);
            else (step.History3, step.H3) = (slots[term.Slot], term.Coefficient);
        }

        var kept = e.Keep == Kept.None ? null : slots[e.KeepSlot];
        step.DenoisedOut = e.Keep == Kept.Denoised ? kept : work;
        step.EpsilonOut = e.Keep == Kept.Epsilon ? kept : null;
        step.SampleOut = e.Keep == Kept.Sample ? kept : e.SampleSlot >= 0 ? slots[e.SampleSlot] : null;
        (step.VarianceMinLog, step.VarianceMaxLog) = e.LearnedVariance ?? (0, 0);
        device.RunSamplerStep(step);
    }

    /// <summary>The latents as they stand, [image][row][column][channel].</summary>
    public ReadOnlySpan<float> Download()
    {
        device.Download(sample, MemoryMarshal.AsBytes(staged.AsSpan()));
        return staged;
    }

    public void Dispose()
    {
        executable.Dispose();
        sample.Dispose();
        noise.Dispose();
        time.Dispose();
        scale.Dispose();
        classes?.Dispose();
        work?.Dispose();
        foreach (var slot in slots) slot.Dispose();
    }

    private void Put(DeviceBuffer buffer, float value)
    {
        number[0] = value;
        device.Upload(MemoryMarshal.AsBytes(number.AsSpan()), buffer);
    }
}
