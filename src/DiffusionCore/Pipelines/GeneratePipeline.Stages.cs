using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <summary>Where latents stand that an observer is shown.</summary>
/// <param name="FirstImage">Index of the batch's first image.</param>
/// <param name="Stage">Of the chain of networks, coarsest first; 0 where there is one.</param>
/// <param name="Step">Of the schedule, from 0.</param>
/// <param name="Finished">
/// After a stage's last step, as the next stage gets it: the latents of all stages so far, coarsest first. Otherwise those of the stage alone.
/// </param>
public readonly record struct LatentState(int FirstImage, int Stage, int Step, bool Finished);

/// <param name="latents">[image][row][column][channel].</param>
public delegate void LatentObserver(LatentState state, ReadOnlySpan<float> latents);

/// <content>A chain of networks, coarse to fine: each reads what those before it have finished.</content>
public sealed partial class GeneratePipeline
{
    /// <summary>Shown the latents after every step and at the end of every stage; they are copied for it, so it costs time.</summary>
    public LatentObserver? Observer { get; set; }

    /// <summary>An image of a latent [height, width, channels].</summary>
    /// <returns>[height*Factor, width*Factor, image channels], nominally in [-1, 1].</returns>
    /// <exception cref="InvalidOperationException">The model works on pixels.</exception>
    public float[] Decode(ReadOnlySpan<float> latent, int height, int width) =>
        (firstStage ?? throw new InvalidOperationException($"{Model.Name} works on pixels")).Decode(latent, height, width, Budget(new GenerateRequest()));

    /// <summary>Vectors of conditions that are given as numbers: tokens of a text or layout, or a class each.</summary>
    /// <returns>[conditions, tokens, channels].</returns>
    /// <exception cref="InvalidOperationException">The model has no encoder of such conditions.</exception>
    public float[] EncodeCondition(IReadOnlyList<int[]> conditions)
    {
        if (condition is null) throw new InvalidOperationException($"{Model.Name} has no encoder of tokens");
        float[] all = [.. conditions.SelectMany(c => condition.Encode(c, Budget(new GenerateRequest())))];
        condition.Release();
        return all;
    }

    private bool Conditioned(GenerateRequest request) => request.Tokens.Count > 0 || Model.ConditionKind switch
    {
        ConditionKind.Text => true,
        ConditionKind.Class => request.Classes.Count > 0,
        ConditionKind.Layout or ConditionKind.Points or ConditionKind.Labels => request.Layout is not null,
        _ => false,
    };

    // Latents of a batch, [image][row][column][channel], channels of all stages coarsest first.
    private float[] DenoiseStages(DenoiseStart start, SessionShape shape, SamplerPlan sampler, GenerateRequest request, MemoryBudget budget, Action<GenerateProgress>? report, CancellationToken cancellation)
    {
        int count = Model.Stages.Count, all = Model.LatentChannels, pixels = shape.Images * shape.Height * shape.Width;
        if (sampler.Adaptive is not null) throw new UsageException($"sampler {sampler.Name} chooses its steps as it goes; {Model.Name} is sampled stage by stage on a fixed schedule");
        float[] finished = [];
        int channels = 0;
        for (int stage = 0; stage < count; stage++)
        {
            int own = Model.Stages[stage].Channels;
            float[] level;
            if (stage == 0 && request.CoarseLatents.Count > 0)
            {
                level = [.. Enumerable.Range(0, shape.Images).SelectMany(i => request.CoarseLatents[(start.FirstImage + i) % request.CoarseLatents.Count])];
            }
            else
            {
                var session = sessions.Get(new SessionKey(shape, sampler, request.Shortcuts, stage), budget);
                var conditions = new Dictionary<string, byte[]>(start.Conditioning);
                if (stage > 0) conditions[PyramidStage.Coarser] = System.Runtime.InteropServices.MemoryMarshal.AsBytes(finished.AsSpan()).ToArray();
                session.Start(start with { Conditioning = conditions, PartOf = (all, channels), Latents = start.Latents is { } from ? Part(from, all, channels, own) : null });
                Run(session, sampler, request, start.FirstImage, report, null, cancellation, stage);
                level = session.Download().ToArray();
                Flatten(level, shape, own, 1 << (count - 1 - stage));
            }

            finished = Beside(finished, channels, level, own, pixels);
            channels += own;
            Observer?.Invoke(new LatentState(start.FirstImage, stage, sampler.Steps - 1, true), finished);
        }

        return finished;
    }

    private static float[] Part(float[] x, int channels, int first, int count)
    {
        var part = new float[x.Length / channels * count];
        for (int p = 0; p < part.Length / count; p++) x.AsSpan(p * channels + first, count).CopyTo(part.AsSpan(p * count));
        return part;
    }

    private static float[] Beside(float[] a, int channelsA, float[] b, int channelsB, int pixels)
    {
        var all = new float[pixels * (channelsA + channelsB)];
        for (int p = 0; p < pixels; p++)
        {
            a.AsSpan(p * channelsA, channelsA).CopyTo(all.AsSpan(p * (channelsA + channelsB)));
            b.AsSpan(p * channelsB, channelsB).CopyTo(all.AsSpan(p * (channelsA + channelsB) + channelsA));
        }

        return all;
    }

    // Every square of a coarse level becomes its mean: half the resolution as often as there are finer levels, and back by repetition.
    private static void Flatten(float[] x, SessionShape shape, int channels, int side)
    {
        if (side == 1) return;
        int height = shape.Height, width = shape.Width;
        for (int i = 0; i < shape.Images; i++)
            for (int y = 0; y < height; y += side)
                for (int at = 0; at < width; at += side)
                    for (int c = 0; c < channels; c++)
                    {
                        double sum = 0;
                        for (int k = 0; k < side * side; k++) sum += x[Index(i, y + k / side, at + k % side, c)];
                        float mean = (float)(sum / (side * side));
                        for (int k = 0; k < side * side; k++) x[Index(i, y + k / side, at + k % side, c)] = mean;
                    }

        int Index(int i, int y, int at, int c) => ((i * height + y) * width + at) * channels + c;
    }
}
