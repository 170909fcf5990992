using System.Runtime.InteropServices;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <summary>
/// One prepared network for a batch of a given size, with the memory of its latents. <see cref="Evaluate(Evaluation)"/> is one evaluation of the
/// network and the fused update after it; it allocates nothing.
/// </summary>
public sealed class DenoiseSession : IDisposable
{
    private readonly Device device;
    private readonly SamplerPlan sampler;
    private readonly Executable executable;
    private readonly DeviceBuffer sample, noise, time, scale, output;
    private readonly DeviceBuffer? work;
    private readonly DeviceBuffer[] slots;
    private readonly Dictionary<string, DeviceBuffer> conditions = [];
    private readonly float[] staged;
    private readonly float[] number = new float[1];
    private LatentNoise? source;
    private SamplerStepArguments step;
    private Inpainting? inpainting;

    internal DenoiseSession(Device device, IDenoiser denoiser, string path, WeightStore weights, SamplerPlan sampler, SessionShape shape, MemoryBudget budget)
    {
        this.device = device;
        this.sampler = sampler;
        Shape = shape;
        Channels = denoiser.Channels;
        Variance = denoiser.OutputChannels == 2 * Channels;
        if (!Variance && denoiser.OutputChannels != Channels) throw new ModelFileException(path, "out_channels", $"{denoiser.OutputChannels} outputs for {Channels} inputs: expected as many, or twice as many");

        if (sampler.Evaluations.Any(e => e.Known is not null)) throw new UsageException($"sampler {sampler.Name} fills the missing part of an image: it needs an image and a mask");
        var graph = Record(denoiser, sampler, shape);
        Plan = device.Plan(graph);
        long bytes = (long)shape.Images * Elements * sizeof(float);
        budget.Check(Plan, weights, (sampler.Slots + 3) * bytes, $"{shape.Images} image{(shape.Images == 1 ? "" : "s")} of {shape.Width}x{shape.Height} at once");

        executable = device.Prepare(Plan, weights);
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
        foreach (var node in Plan.Graph.Nodes)
        {
            if (node.Op is not InputOp input || node.Rate != Rate.Request || conditions.ContainsKey(input.InputName)) continue;
            var buffer = device.Allocate(node.Type.Bytes);
            conditions.Add(input.InputName, buffer);
            executable.Bind(input.InputName, buffer);
        }

        staged = new float[shape.Images * Elements];
    }

    public SessionShape Shape { get; }

    public int Images => Shape.Images;

    public int Height => Shape.Height;

    public int Width => Shape.Width;

    public int Channels { get; }

    public bool Guided => Shape.Guided;

    /// <summary>Whether the network also predicts the variance.</summary>
    public bool Variance { get; }

    public Plan Plan { get; }

    public Executable Executable => executable;

    /// <summary>Numbers in one latent.</summary>
    public int Elements => Height * Width * Channels;

    private static bool Scales(SamplerPlan sampler) => sampler.Adaptive is not null || sampler.Evaluations.Any(e => e.InputScale != 1);

    /// <summary>The network with what a sampler needs around it: input scaling, both branches of guidance in one batch.</summary>
    public static Graph Record(IDenoiser denoiser, SamplerPlan sampler, SessionShape shape)
    {
        var g = new Graph();
        var x = g.Input("sample", new Shape(shape.Images, shape.Height, shape.Width, denoiser.Channels));
        var t = g.Input("timestep", new Shape(1));
        if (Scales(sampler)) x = g.Times(x, g.Input("input_scale", new Shape(1)));
        if (shape.Guided) x = g.Concat(0, x, x);
        g.Output("prediction", denoiser.Record(g, x, t, shape));
        return g;
    }

    /// <summary>Draws the first latents and hands over the conditions.</summary>
    public void Start(DenoiseStart start)
    {
        source = new LatentNoise(start.Noise, Images, Math.Max(start.Total, start.FirstImage + Images), Height, Width, Channels);
        source.Start(start.Seeds, start.FirstImage);
        double deviation = start.Latents is null ? sampler.InitialSigma : 1;
        if (start.Variation is { } variation) source.DrawVaried(staged, variation, deviation);
        else source.Draw(staged, deviation);
        inpainting = start.Mask is null ? null : new Inpainting(start.Latents!, start.Mask, [.. staged], Channels);
        if (start.Latents is { } latents)
        {
            var first = sampler.Evaluations[0];
            for (int i = 0; i < staged.Length; i++) staged[i] = (float)(first.Alpha * latents[i] + first.Sigma * staged[i]);
        }

        device.Upload(MemoryMarshal.AsBytes(staged.AsSpan()), sample);
        foreach (var (name, buffer) in conditions) device.Upload(start.Conditioning.TryGetValue(name, out byte[]? given) ? given : new byte[buffer.Bytes], buffer);
        executable.Run(Rate.Request);
        step = new SamplerStepArguments
        {
            Images = Images, Elements = Elements, Sample = sample, Model = output, Guided = Guided, GuidanceScale = start.Guidance, Prediction = sampler.Prediction, Next = sample,
            Clip = sampler.Clip, ClipRederivesEpsilon = sampler.ClipRederivesEpsilon, ThresholdRatio = sampler.ThresholdRatio, ThresholdMaximum = sampler.ThresholdMaximum,
            VarianceChannels = Variance ? Channels : 0,
        };
    }

    /// <summary>Evaluation <paramref name="index"/> of a sampler's fixed list.</summary>
    public void Evaluate(int index) => Evaluate(sampler.Evaluations[index]);

    /// <summary>The network at the evaluation's time, then its update.</summary>
    public void Evaluate(Evaluation e)
    {
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

        step.Numbers = e.Reading;
        (step.LangevinRatio, step.BatchNorms) = (e.LangevinRatio, sampler.BatchNorms);
        step.Alpha = e.Alpha;
        step.Sigma = e.Sigma;
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
        step.SampleOut = e.SampleSlot >= 0 ? slots[e.SampleSlot] : e.Keep == Kept.Sample ? kept : null;
        step.Next = e.Target is { } target ? slots[target] : sample;
        (step.VarianceMinLog, step.VarianceMaxLog) = e.LearnedVariance ?? (0, 0);
        device.RunSamplerStep(step);
    }

    /// <summary>Puts back what the mask does not cover, at the noise of the evaluation that follows; null: at none. Nothing where there is no mask.</summary>
    public void KeepUnmasked(Evaluation? next)
    {
        if (inpainting is null) return;
        device.Download(sample, MemoryMarshal.AsBytes(staged.AsSpan()));
        inpainting.Restore(staged, next?.Alpha ?? 1, next?.Sigma ?? 0);
        device.Upload(MemoryMarshal.AsBytes(staged.AsSpan()), sample);
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
        work?.Dispose();
        foreach (var buffer in conditions.Values) buffer.Dispose();
        foreach (var slot in slots) slot.Dispose();
    }

    private void Put(DeviceBuffer buffer, float value)
    {
        number[0] = value;
        device.Upload(MemoryMarshal.AsBytes(number.AsSpan()), buffer);
    }

    /// <summary>What inpainting by blending keeps: the image's latents, the mask, and the noise that the run began with.</summary>
    private sealed class Inpainting(float[] latents, float[] mask, float[] noise, int channels)
    {
        public void Restore(Span<float> sample, double alpha, double sigma)
        {
            for (int i = 0; i < sample.Length; i++)
            {
                double m = mask[i / channels];
                sample[i] = (float)(m * sample[i] + (1 - m) * (alpha * latents[i] + sigma * noise[i]));
            }
        }
    }
}
