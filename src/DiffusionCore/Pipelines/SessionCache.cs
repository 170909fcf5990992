using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Pipelines;

/// <summary>What a session is prepared for; everything that its plan depends on.</summary>
/// <param name="Stage">Which of a chain of networks.</param>
internal readonly record struct SessionKey(SessionShape Shape, SamplerPlan Sampler, ShortcutOptions Shortcuts, int Stage = 0)
{
    /// <summary>Samplers are compared by identity: their lists of evaluations are long.</summary>
    public bool Equals(SessionKey other) => Shape == other.Shape && ReferenceEquals(Sampler, other.Sampler) && Shortcuts == other.Shortcuts && Stage == other.Stage;

    public override int GetHashCode() => Shape.GetHashCode();
}

/// <summary>The denoiser's weights, and the sessions that were used last.</summary>
internal sealed class SessionCache : IMemoryHolder, IDisposable
{
    private const int CachedSessions = 3, PlannedAhead = 4;

    private readonly Device device;
    private readonly ModelFolder model;
    private readonly List<(SessionKey Key, PhaseNeeds Needs, DenoiseSession Session)> sessions = [];     // least recently used first
    private readonly List<(SessionKey Key, NetworkPlans Plans)> planned = [];           // not yet used by a session

    public SessionCache(Device device, ModelFolder model)
    {
        (this.device, this.model) = (device, model);
        Weights = device.CreateWeightStore();
    }

    public WeightStore Weights { get; }

    /// <summary>A session that must stay as it is.</summary>
    public DenoiseSession? InUse { get; set; }

    public long HeldBytes => Weights.Bytes + sessions.Sum(s => s.Session.HeldBytes);

    /// <summary>What a session needs, its weights included.</summary>
    public PhaseNeeds Needs(SessionKey key)
    {
        int found = sessions.FindIndex(s => s.Key == key);
        if (found >= 0) return sessions[found].Needs;
        var shape = key.Shape;
        var plans = PlansOf(key);
        string what = $"{shape.Images} image{(shape.Images == 1 ? "" : "s")} of {shape.Width * model.Factor}x{shape.Height * model.Factor} at once";
        return new PhaseNeeds(what, plans.Weights, plans.ArenaBytes + DenoiseSession.StagingBytes(plans.Whole, key.Sampler, shape, model.Stages[key.Stage].Channels));
    }

    /// <summary>The session of a key, prepared now if it is not there.</summary>
    /// <exception cref="MemoryException">It does not fit.</exception>
    public DenoiseSession Get(SessionKey key, MemoryBudget budget)
    {
        int found = sessions.FindIndex(s => s.Key == key);
        if (found >= 0)
        {
            var entry = sessions[found];
            sessions.RemoveAt(found);
            sessions.Add(entry);
            return entry.Session;
        }

        if (sessions.Count == CachedSessions) Drop(1);
        var needs = Needs(key);
        if (!budget.FitsWhole(needs with { Working = needs.Working + sessions.Sum(s => s.Session.HeldBytes) })) Drop(sessions.Count);
        long kept = sessions.Sum(s => s.Session.HeldBytes);
        if (model.Stages.Count > 1 && Weights.Bytes > 0)
        {
            // The store has other networks' weights too.
            kept += Weights.Bytes;
            if (!budget.FitsWhole(needs with { Working = needs.Working + kept }))
            {
                Release();
                kept = 0;
            }
        }

        long room = budget.Claim(this, needs with { Working = needs.Working + kept });
        var plans = PlansOf(key);
        // Weights that stayed from a session with more room for them may leave too little for reading the others.
        if (sessions.Count == 0 && room < needs.Weights.All && device.Weights(plans.Whole, Weights).Least + needs.Weights.Least > room) Weights.Dispose();
        planned.RemoveAll(p => ReferenceEquals(p.Plans, plans));
        var session = new DenoiseSession(device, model.DenoiserOf(key.Sampler, key.Stage), Weights, key.Sampler, key.Shape, plans, room);
        sessions.Add((key, needs, session));
        budget.Say("the denoiser", session.StreamedBytes, needs.Weights.All);
        return session;
    }

    /// <summary>Gives sessions and weights back, but for those of a session in use.</summary>
    public void Release()
    {
        Drop(sessions.Count);
        if (sessions.Count == 0) Weights.Dispose();
    }

    public void Dispose()
    {
        InUse = null;
        Release();
    }

    private void Drop(int count)
    {
        for (int i = 0; i < sessions.Count && count > 0; count--)
        {
            if (ReferenceEquals(sessions[i].Session, InUse))
            {
                i++;
                continue;
            }

            sessions[i].Session.Dispose();
            sessions.RemoveAt(i);
        }
    }

    private NetworkPlans PlansOf(SessionKey key)
    {
        int found = planned.FindIndex(p => p.Key == key);
        if (found >= 0) return planned[found].Plans;
        if (planned.Count == PlannedAhead) planned.RemoveAt(0);
        var plans = DenoiseSession.PlansOf(device, model.DenoiserOf(key.Sampler, key.Stage), model.Path, key.Sampler, key.Shape, key.Shortcuts);
        planned.Add((key, plans));
        return plans;
    }
}
