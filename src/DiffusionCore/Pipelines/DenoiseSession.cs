using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Pipelines;

/// <summary>
/// One prepared network for a batch of a given size, with the memory of its latents. <see cref="Evaluate(Evaluation)"/> is one evaluation of the
/// network and the fused update after it; it allocates nothing.
/// </summary>
public sealed partial class DenoiseSession : IDisposable
{
    private readonly Device device;
    private readonly SamplerPlan sampler;
    private readonly NetworkPlans plans;
    private readonly DeviceBuffer sample, noise, time, scale;
    private readonly DeviceBuffer? work, running, known, mask;
    private readonly LatentMemory state;
    private readonly IStepInputs? told;
    private readonly DeviceBuffer? toldBuffer;
    private readonly float[] toldValues = [];
    private readonly DeviceBuffer[] slots;
    private readonly float[] staged;
    private float[]? wide;
    private int drawnChannels, firstChannel;
    private readonly float[] number = new float[1];
    private LatentNoise? source;
    private readonly DeviceStep[] updates;           // one per plan
    private int ran;                                 // the plan that ran last
    private SamplerStepArguments step;
    private ISamplerRun? run;
    private BrownianTree[]? paths;
    private double[]? along;
    private ulong[] seeds = [];
    private double guidance, measured;
    private Inpainting? inpainting;
    private DeviceBuffer? denoised;
    private DeviceStep[]? looks;

    /// <summary>A session by itself, with all its weights in memory.</summary>
    /// <exception cref="MemoryException">It does not fit.</exception>
    internal DenoiseSession(Device device, IDenoiser denoiser, string path, WeightStore weights, SamplerPlan sampler, SessionShape shape, MemoryBudget budget, int factor = 1, ShortcutOptions? shortcuts = null)
        : this(device, denoiser, weights, sampler, shape, Checked(PlansOf(device, denoiser, path, sampler, shape, shortcuts ?? new ShortcutOptions()), budget, $"{shape.Images} of {shape.Width * factor}x{shape.Height * factor} at once would"), long.MaxValue)
    {
    }

    /// <param name="plans">Of <see cref="PlansOf"/> for the same sampler and shape; the session's own from here on.</param>
    /// <param name="weightBytes">That the plans' weights may take.</param>
    internal DenoiseSession(Device device, IDenoiser denoiser, WeightStore weights, SamplerPlan sampler, SessionShape shape, NetworkPlans plans, long weightBytes)
    {
        this.device = device;
        this.sampler = sampler;
        Shape = shape;
        this.plans = plans;
        Channels = denoiser.Channels;
        Variance = denoiser.OutputChannels == 2 * Channels;
        bool works = sampler.ThresholdRatio > 0 || sampler.Evaluations.Any(e => e.LangevinRatio > 0);
        long numbers = (long)shape.Images * Elements, bytes = numbers * shape.State.Size();
        plans.Prepare(weights, weightBytes);
        state = new LatentMemory(device, shape.State, checked((int)numbers));
        sample = state.Latents;
        noise = device.Allocate(bytes);
        time = device.Allocate(sizeof(float));
        scale = device.Allocate(sizeof(float));
        work = works ? device.Allocate(bytes) : null;
        (known, mask) = sampler.Fills ? (device.Allocate(bytes), device.Allocate(bytes)) : (null, null);
        running = Remembers(sampler) ? device.Allocate(bytes + 3 * shape.Images * sizeof(float)) : null;
        slots = [.. Enumerable.Range(0, sampler.Slots).Select(_ => device.Allocate(bytes))];
        updates = [.. plans.Outputs.Select(output => new DeviceStep(device, sampler, sample, output, noise, work, slots) { Running = running, Single = state.Single, Known = known, Mask = mask })];
        plans.Bind("sample", state.Single ?? sample);
        plans.Bind("timestep", time);
        if (Scales(sampler)) plans.Bind("input_scale", scale);
        if (denoiser is IStepInputs inputs)
        {
            (told, toldValues, toldBuffer) = (inputs, new float[inputs.Count], device.Allocate(inputs.Count * sizeof(float)));
            plans.Bind(inputs.Name, toldBuffer);
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

    /// <summary>Of the whole network; a shortcut adds others.</summary>
    public Plan Plan => plans.Whole;

    public Executable Executable => plans.Executable;

    /// <summary>Numbers in one latent.</summary>
    public int Elements => Height * Width * Channels;

    /// <summary>Whether evaluations also leave what the network takes the noiseless latent to be, for <see cref="DownloadDenoised"/>. The run is the same.</summary>
    public bool KeepsDenoised { get; set; }

    private static bool Scales(SamplerPlan sampler) => sampler.Adaptive is not null || sampler.Evaluations.Any(e => e.InputScale != 1);

    /// <summary>The network with what a sampler needs around it: input scaling, both branches of guidance in one batch.</summary>
    public static Graph Record(IDenoiser denoiser, SamplerPlan sampler, SessionShape shape) => Record(denoiser, sampler, shape, null);

    internal static Graph Record(IDenoiser denoiser, SamplerPlan sampler, SessionShape shape, NetworkCuts? cuts)
    {
        var g = new Graph { Guide = cuts };
        var x = g.Input("sample", new Shape(shape.Images, shape.Height, shape.Width, denoiser.Channels));
        var t = g.Input("timestep", new Shape(1));
        if (Scales(sampler)) x = g.Times(x, g.Input("input_scale", new Shape(1)));
        if (shape.Branches > 1) x = g.Concat(0, [.. Enumerable.Repeat(x, shape.Branches)]);
        g.Output("prediction", denoiser.Record(g, x, t, shape));
        return shape.Perturbed is { } third ? PerturbPass.Run(g, third.Kind, shape.Rows - shape.Images, third.Layers) : g;
    }

    /// <summary>Draws the first latents and hands over the conditions.</summary>
    public void Start(DenoiseStart start)
    {
        (drawnChannels, firstChannel) = start.PartOf ?? (Channels, 0);
        wide = drawnChannels == Channels ? null : new float[Images * Height * Width * drawnChannels];
        source = new LatentNoise(start.Noise, Images, Math.Max(start.Total, start.FirstImage + Images), Height, Width, drawnChannels);
        source.Start(start.Seeds, start.FirstImage);
        if (start.Variation is { } variation) source.DrawVaried(wide ?? staged, variation);
        else source.Draw(wide ?? staged);
        TakePart();
        if (start.FirstNoise is { } noises) noises.AsSpan(0, staged.Length).CopyTo(staged);
        inpainting = null;
        if (known is not null) Given(start);
        else if (start.Mask is not null) inpainting = new Inpainting(start.Latents!, start.Mask, [.. staged], Channels);
        if (start.Coarse is { } coarse)
        {
            Raise(coarse);
            state.Begin(staged, null, 0, 1);
        }
        else if (known is null && start.Latents is { } latents)
        {
            var (alpha, sigma) = sampler.Adaptive is null ? (sampler.Evaluations[0].Alpha, sampler.Evaluations[0].Sigma) : (1, sampler.Sigmas![0]);
            state.Begin(staged, latents, alpha, sigma);
        }
        else
        {
            state.Begin(staged, null, 0, sampler.InitialSigma);
        }

        if (running is not null) device.Upload(new byte[running.Bytes], running);
        plans.Start(start.Conditioning);
        (run, ran, measured, guidance, seeds, paths) = (sampler.Start(), 0, double.NaN, start.Guidance, start.Seeds, null);
        step = new SamplerStepArguments
        {
            Images = Images, Elements = Elements, Sample = sample, Model = sample, Guided = Guided, Prediction = sampler.Prediction, Next = sample,
            Clip = sampler.Clip, ClipRederivesEpsilon = sampler.ClipRederivesEpsilon, ThresholdRatio = sampler.ThresholdRatio, ThresholdMaximum = sampler.ThresholdMaximum,
            VarianceChannels = Variance ? Channels : 0, Perturbed = Shape.Perturbed is not null,
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
            if (told is not null)
            {
                told.Fill(e, toldValues);
                device.Upload(MemoryMarshal.AsBytes(toldValues.AsSpan()), toldBuffer!);
            }

            ran = plans.Run();
        }

        if (e.DrawsNoise)
        {
            if (e.NoiseInterval is { } interval) DrawPath(interval.From, interval.To);
            else
            {
                for (int k = 0; k <= e.UnusedDraws; k++) source!.Draw(wide ?? staged);
                TakePart();
            }

            state.Upload(staged, noise);
        }

        step.Guided = Guided && !plans.Gated(ran);
        if (KeepsDenoised && e.Evaluates) Look(e);
        updates[ran].Apply(e, ref step, guidance);
        measured = updates[ran].Measure(e);
    }

    /// <summary>The next evaluation of the run, as the sampler decides; null at its end.</summary>
    public Evaluation? Next()
    {
        var e = run!.Next(measured);
        if (e is not null) Evaluate(e);
        return e;
    }

    /// <summary>Puts back what the mask does not cover, at the noise of the evaluation that follows; null: at none. Nothing where there is no mask.</summary>
    public void KeepUnmasked(Evaluation? next)
    {
        if (inpainting is null) return;
        state.Change(inpainting, next?.Alpha ?? 1, next?.Sigma ?? 0);
    }

    /// <summary>The latents as they stand, [image][row][column][channel].</summary>
    public ReadOnlySpan<float> Download()
    {
        state.Download(staged);
        return staged;
    }

    /// <summary>The noiseless latents as the last evaluation that kept them took them to be, guided and clipped as the sampler does: [image][row][column][channel].</summary>
    /// <exception cref="InvalidOperationException">No evaluation has kept them.</exception>
    public float[] DownloadDenoised()
    {
        if (denoised is null) throw new InvalidOperationException($"no evaluation was run with {nameof(KeepsDenoised)}");
        var values = new float[Images * Elements];
        device.Download(denoised, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    public void Dispose()
    {
        denoised?.Dispose();
        plans.Dispose();
        state.Dispose();
        noise.Dispose();
        time.Dispose();
        scale.Dispose();
        foreach (var buffer in new[] { work, running, known, mask }) buffer?.Dispose();
        toldBuffer?.Dispose();
        foreach (var slot in slots) slot.Dispose();
    }

    // The session's channels of what was drawn for all.
    private void TakePart()
    {
        if (wide is null) return;
        for (int p = 0; p < Images * Height * Width; p++) wide.AsSpan(p * drawnChannels + firstChannel, Channels).CopyTo(staged.AsSpan(p * Channels));
    }

    // The part of an image that stays is what the mask does not say to make anew.
    private void Given(DenoiseStart start)
    {
        if (start.Latents is null || start.Mask is null) throw new UsageException($"sampler {sampler.Name} fills the missing part of an image: it needs an image and a mask");
        state.Upload(start.Latents, known!);
        state.Upload([.. Enumerable.Range(0, staged.Length).Select(i => 1 - start.Mask[i / Channels])], mask!);
    }

    // Increments of one Brownian path per image, channels first as all noise; a run of more steps follows the same path.
    private void DrawPath(double from, double to)
    {
        paths ??= [.. seeds.Select(seed => BrownianTree.OverLevels(seed, sampler.Sigmas![0], Elements))];
        along ??= new double[Elements];
        int pixels = Height * Width;
        for (int image = 0; image < Images; image++)
        {
            paths[image].Increment(from, to, along);
            for (int c = 0; c < Channels; c++)
                for (int p = 0; p < pixels; p++) staged[image * Elements + p * Channels + c] = (float)along[c * pixels + p];
        }
    }

    // The first latent from a lower resolution and the noise that is staged.
    private void Raise(CoarseStart coarse)
    {
        var first = sampler.Evaluations[0];
        var change = ResolutionChange.Of(coarse.Alpha, coarse.Sigma, first.Alpha, first.Sigma, coarse.Factor);
        var more = change.Mean == 0 ? [] : new float[staged.Length];
        if (change.Mean != 0) source!.Draw(more);
        int height = Height / coarse.Factor, width = Width / coarse.Factor, each = height * width * Channels;
        if (coarse.Latents.Length != Images * each) throw new UsageException($"coarse start: expected {Images * each} numbers, {Images} latents of {width}x{height}x{Channels}, found {coarse.Latents.Length}");
        for (int i = 0; i < Images; i++) change.Raise(coarse.Latents.AsSpan(i * each, each), staged.AsSpan(i * Elements, Elements), change.Mean == 0 ? [] : more.AsSpan(i * Elements, Elements), height, width, Channels, coarse.Factor);
    }

    // The fused step once more, to a buffer of its own: x0 alone.
    private void Look(Evaluation e)
    {
        denoised ??= device.Allocate(sample.Bytes);
        looks ??= [.. plans.Outputs.Select(output => new DeviceStep(device, sampler, sample, output, noise, work, [denoised]))];
        var view = step;
        looks[ran].Apply(
            e with { X = 0, D = 1, E = 0, N = 0, History = [], Keep = Kept.None, SampleSlot = -1, Target = 0, NoiseInterval = null, Measure = null, LangevinRatio = 0, UnusedDraws = 0, Known = null, LearnedVariance = null, DrawsNoise = false },
            ref view, guidance);
    }

    private void Put(DeviceBuffer buffer, float value)
    {
        number[0] = value;
        device.Upload(MemoryMarshal.AsBytes(number.AsSpan()), buffer);
    }
}
