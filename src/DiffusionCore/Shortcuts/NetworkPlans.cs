using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Shortcuts;

/// <summary>
/// The plans of one network that a session runs: one without shortcuts; with them up to four recordings that share the weights, one arena each.
/// <code>
/// whole --features--> short
///   +-----cross-attentions--> gated whole --features--> gated short
///           (one branch of guidance from here on)
/// </code>
/// What one plan keeps is an output of its own arena, and the next plan's input is bound to that memory: nothing is copied.
/// </summary>
internal sealed class NetworkPlans : IDisposable
{
    private readonly Device device;
    private readonly List<Part> parts = [];
    private readonly int[] schedule;
    private int call;

    /// <exception cref="UsageException">The network has not the structure that a shortcut needs.</exception>
    public NetworkPlans(Device device, IDenoiser denoiser, SamplerPlan sampler, SessionShape shape, ShortcutOptions shortcuts, string name)
    {
        this.device = device;
        shortcuts.Check(sampler);
        var calls = sampler.Evaluations.Where(e => e.Evaluates).ToArray();
        var steps = Array.ConvertAll(calls, e => e.Step - calls[0].Step);
        var kinds = Kinds(shortcuts, steps);
        bool gates = Array.Exists(kinds, k => k.Gated), passes = shortcuts.PassesFeatures;
        if (gates && shape.Perturbed is not null) throw new UsageException("tgate: a third, perturbed branch is evaluated at every step; leave it or --tgate out");
        var cross = gates ? new KeptFeatures() : null;
        var index = new Dictionary<Kind, int>();
        foreach (bool gated in gates ? (bool[])[false, true] : [false])
        {
            bool shortened = Array.Exists(kinds, k => k.Gated == gated && k.Short);
            var features = passes ? new KeptFeatures() : null;
            int whole = parts.Count;
            foreach (bool brief in shortened ? (bool[])[false, true] : [false])
            {
                index.Add(new Kind(gated, brief), parts.Count);
                var cuts = new NetworkCuts(shortcuts, shape.Height)
                {
                    Features = !passes ? CutMode.None : brief ? CutMode.Reuse : CutMode.Keep, KeptFeatures = features, Guided = shape.Guided,
                    Cross = !gates ? CutMode.None : gated ? CutMode.Reuse : brief ? CutMode.None : CutMode.Keep, KeptCross = cross,
                };
                var graph = DenoiseSession.Record(denoiser, sampler, gated ? shape with { Guided = false } : shape, shortcuts.None ? null : cuts);
                if (!shortcuts.None && !brief) cuts.Check(name);
                parts.Add(new Part(device.Plan(graph), gated, brief ? features : null, whole, gated ? cross : null));
            }
        }

        schedule = Array.ConvertAll(kinds, k => index[k]);
    }

    private readonly record struct Kind(bool Gated, bool Short);

    /// <summary>The plan of the whole network.</summary>
    public Plan Whole => parts[0].Plan;

    public Executable Executable => parts[0].Executable;

    /// <summary>Bytes of all arenas.</summary>
    public long ArenaBytes => parts.Sum(p => p.Plan.ArenaBytes);

    /// <summary>What the weights need. The other plans read some of the whole network's; streamed, each through a ring of its own.</summary>
    public WeightNeeds Weights
    {
        get
        {
            var needs = device.Weights(Whole);
            return needs with { Least = Math.Min(needs.All, needs.Least * parts.Count) };
        }
    }

    /// <summary>Bytes held beside weights that stay in the store.</summary>
    public long HeldBytes => parts.Sum(p => p.Executable.AllocatedBytes + p.Executable.StreamBufferBytes);

    /// <summary>Bytes of weights that are read whenever the whole network runs.</summary>
    public long StreamedBytes => Executable.StreamedBytes;

    /// <summary>The prediction of each plan.</summary>
    public IEnumerable<DeviceBuffer> Outputs => parts.Select(p => p.Executable.Output("prediction"));

    /// <summary>Allocates, and gives conditions their memory.</summary>
    /// <param name="weightBytes">That the weights may take.</param>
    public void Prepare(WeightStore weights, long weightBytes)
    {
        var needs = device.Weights(Whole);
        bool streams = weightBytes < needs.All;
        foreach (var part in parts)
        {
            long bytes = !streams ? long.MaxValue : part == parts[0] ? weightBytes - ((parts.Count - 1) * needs.Least) : device.Weights(part.Plan, weights).Least;
            part.Executable = device.Prepare(part.Plan, weights, bytes);
            Connect(part, part.Features, parts[part.Whole]);
            Connect(part, part.Cross, parts[0]);
            foreach (var node in part.Plan.Graph.Nodes)
            {
                if (node.Op is not InputOp input || node.Rate != Rate.Request || part.Conditions.ContainsKey(input.InputName)) continue;
                var buffer = device.Allocate(node.Type.Bytes);
                part.Conditions.Add(input.InputName, buffer);
                part.Executable.Bind(input.InputName, buffer);
            }
        }
    }

    /// <summary>Binds an input of every plan that has it.</summary>
    public void Bind(string input, DeviceBuffer buffer)
    {
        foreach (var part in parts) part.Executable.Bind(input, buffer);
    }

    /// <summary>A new run: hands over the conditions, and computes what follows from them.</summary>
    public void Start(IReadOnlyDictionary<string, byte[]> conditioning)
    {
        call = 0;
        foreach (var part in parts)
        {
            foreach (var (name, buffer) in part.Conditions)
            {
                byte[] given = conditioning.TryGetValue(name, out byte[]? bytes) ? bytes : new byte[buffer.Bytes];
                // Both branches of guidance: the one with the condition comes second.
                device.Upload(part.Gated && given.Length == 2 * buffer.Bytes ? given.AsSpan(given.Length / 2) : given, buffer);
            }

            part.Executable.Run(Rate.Request);
        }
    }

    /// <summary>Runs the plan whose turn it is.</summary>
    /// <returns>Its number in <see cref="Outputs"/>.</returns>
    public int Run()
    {
        int part = schedule.Length == 0 ? 0 : schedule[call++ % schedule.Length];
        parts[part].Executable.Run(Rate.Step);
        return part;
    }

    /// <summary>Whether a plan evaluates the branch with the condition alone.</summary>
    public bool Gated(int part) => parts[part].Gated;

    public void Dispose()
    {
        foreach (var part in parts)
        {
            part.Executable?.Dispose();
            foreach (var buffer in part.Conditions.Values) buffer.Dispose();
        }
    }

    private static void Connect(Part part, KeptFeatures? kept, Part from)
    {
        if (kept is null) return;
        foreach (string name in kept.Shapes.Keys)
            if (part.Plan.Graph.Inputs.ContainsKey(name)) part.Executable.Bind(name, from.Executable.Output(name));
    }

    // The first gated evaluation is whole: the features before it are of both branches.
    private static Kind[] Kinds(ShortcutOptions shortcuts, int[] steps)
    {
        bool[]? whole = shortcuts.DeepCache?.Whole(steps.Length);
        var kinds = new Kind[steps.Length];
        for (int i = 0; i < kinds.Length; i++)
        {
            bool gated = steps[i] >= (shortcuts.GateStep ?? int.MaxValue), first = i == 0 || (gated && !kinds[i - 1].Gated);
            bool full = whole?[i] ?? shortcuts.EncoderKeys?.Contains(i) ?? true;
            kinds[i] = new Kind(gated, !full && !first);
        }

        return kinds;
    }

    /// <param name="Features">What the plan takes from the whole plan with number <paramref name="Whole"/>; null where nothing.</param>
    /// <param name="Cross">What it takes from the first plan; null where nothing.</param>
    private sealed record Part(Plan Plan, bool Gated, KeptFeatures? Features, int Whole, KeptFeatures? Cross)
    {
        public Executable Executable { get; set; } = null!;

        public Dictionary<string, DeviceBuffer> Conditions { get; } = [];
    }
}
