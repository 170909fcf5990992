using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Pipelines;

public sealed partial class DenoiseSession
{
    private const int StagedLatents = 6;     // sample, noise, what the sampler works with, the host's copies

    /// <summary>Bytes of weights that are read from their files as evaluations need them; 0 where all are in memory.</summary>
    public long StreamedBytes => plans.StreamedBytes;

    /// <summary>Bytes held beside weights that stay in the store.</summary>
    internal long HeldBytes => plans.HeldBytes + StagingBytes(Plan, sampler, Shape, Channels);

    /// <summary>Bytes of latents, noise, sampler history and conditions for sessions of a plan.</summary>
    internal static long StagingBytes(Plan plan, SamplerPlan sampler, SessionShape shape, int channels)
    {
        long latents = (long)shape.Images * shape.Height * shape.Width * channels * shape.State.Size();
        int more = (sampler.Fills ? 2 : 0) + (Remembers(sampler) ? 1 : 0);
        return ((sampler.Slots + StagedLatents + more) * latents) + (2 * plan.Graph.Nodes.Where(n => n.Op is InputOp && n.Rate == Rate.Request).Sum(n => n.Type.Bytes));
    }

    /// <summary>The plans of a session, after checking that sampler and network go together.</summary>
    /// <exception cref="UsageException">They do not.</exception>
    internal static NetworkPlans PlansOf(Device device, IDenoiser denoiser, string path, SamplerPlan sampler, SessionShape shape, ShortcutOptions shortcuts)
    {
        if (denoiser.OutputChannels != denoiser.Channels && denoiser.OutputChannels != 2 * denoiser.Channels)
            throw new ModelFileException(path, "out_channels", $"{denoiser.OutputChannels} outputs for {denoiser.Channels} inputs: expected as many, or twice as many");
        if (sampler.NeedsUnconditional && !shape.Guided) throw new UsageException($"sampler {sampler.Name} reads both branches of guidance: give a --guidance other than 1, and a model that has them");
        if (sampler.Adaptive is not null && shape.Images > 1) throw new UsageException($"sampler {sampler.Name} chooses its steps by the error of one image: use --batch 1");
        return new NetworkPlans(device, denoiser, sampler, shape, shortcuts, path);
    }

    // Projected guidance with momentum.
    private static bool Remembers(SamplerPlan sampler) => sampler.Form?.Projected is { Momentum: not 0 };

    private static NetworkPlans Checked(NetworkPlans plans, MemoryBudget budget, string what)
    {
        long all = plans.Weights.All;
        budget.Check(new PhaseNeeds(what, new WeightNeeds(all, all), plans.ArenaBytes));
        return plans;
    }
}
