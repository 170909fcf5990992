using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Runtime;

/// <summary>Where a value's bytes are.</summary>
public enum Storage
{
    /// <summary>The caller's buffer, bound at each run.</summary>
    Input,

    /// <summary>The weight store, in the form that the reading implementation asked for.</summary>
    Weight,

    /// <summary>The arena of the segment that computes it.</summary>
    Arena,
}

/// <summary>A value's place: storage, the rate whose arena holds it, and the byte offset there.</summary>
public readonly record struct Place(Storage Storage, Rate Rate, long Offset);

/// <summary>One launch: a node, who computes it, where its scratch lies.</summary>
/// <param name="Declined">Implementations that were asked first, and why each declined.</param>
public sealed record PlanStep(
    Node Node, IImplementation Implementation, IReadOnlyList<(string Name, string Reason)> Declined, Cost Cost, long ScratchOffset, long ScratchBytes);

/// <summary>The steps of one rate, in order, and the arena that they need.</summary>
public sealed record PlanSegment(Rate Rate, IReadOnlyList<PlanStep> Steps, long ArenaBytes);

/// <summary>An implementation of an operation on some device. Devices keep ordered lists of them; the first that accepts wins.</summary>
public interface IImplementation
{
    string Name { get; }

    /// <summary>Null where it can compute this node, else the reason why not.</summary>
    string? Declines(Node node, ReadOnlySpan<TensorType> operands);

    /// <summary>Null where the node's weight operands are stored in a form that it takes, else why not.</summary>
    string? DeclinesWeight(Graph graph, Node node);

    /// <summary>Scratch bytes that a run of the node needs.</summary>
    long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands);
}

/// <summary>A network ready to be placed on a device: steps per rate, every buffer's place, every cost. Nothing is allocated yet.</summary>
public sealed class Plan
{
    private Plan(Graph graph, Place[] places, PlanSegment[] segments, TimeSpan recording)
    {
        Graph = graph;
        Places = places;
        Segments = segments;
        PlanningTime = recording;
    }

    /// <summary>The graph after fusion; step nodes refer to it.</summary>
    public Graph Graph { get; }

    /// <summary>The place of every node's value, by id.</summary>
    public IReadOnlyList<Place> Places { get; }

    /// <summary>Load, request and step, by <see cref="Rate"/>.</summary>
    public IReadOnlyList<PlanSegment> Segments { get; }

    public TimeSpan PlanningTime { get; }

    /// <summary>Bytes of all arenas: what preparing this plan allocates beside the weights.</summary>
    public long ArenaBytes => Segments.Sum(s => s.ArenaBytes);

    public Cost Cost(Rate rate) => Segments[(int)rate].Steps.Aggregate(default(Cost), (sum, s) => sum + s.Cost);

    /// <summary>Fuses, picks implementations, and places every buffer.</summary>
    /// <param name="implementations">The device's list for an operation, best first.</param>
    /// <exception cref="DeviceException">No implementation accepts an operation.</exception>
    public static Plan Build(Graph recorded, Func<Op, IReadOnlyList<IImplementation>> implementations, bool fuse = true)
    {
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        var graph = fuse ? FusePass.Run(recorded, op => implementations(op).Any(i => !i.Name.StartsWith("reference", StringComparison.Ordinal))) : recorded;
        var nodes = graph.Nodes;
        var types = nodes.Select(n => n.Type).ToArray();
        var alias = new int[nodes.Count];                                // a reshape lives in its operand's buffer
        for (int i = 0; i < alias.Length; i++) alias[i] = nodes[i].Op is ReshapeOp ? alias[nodes[i].Inputs[0]] : i;

        var order = new int[nodes.Count];                                // position of a node within its own segment
        var counts = new int[3];
        foreach (var node in nodes)
            if (IsStep(node)) order[node.Id] = counts[(int)node.Rate]++;

        // A value read by a faster rate, or by the caller, must outlive its own segment's run.
        var lastUse = new int[nodes.Count];
        foreach (var node in nodes)
        {
            lastUse[node.Id] = Math.Max(lastUse[node.Id], order[node.Id]);
            foreach (int input in node.Inputs)
            {
                int owner = alias[input];
                if (!IsStep(node)) continue;
                lastUse[owner] = node.Rate == nodes[owner].Rate ? Math.Max(lastUse[owner], order[node.Id]) : int.MaxValue;
            }
        }

        foreach (var (_, id) in graph.Outputs) lastUse[alias[id]] = int.MaxValue;

        var places = new Place[nodes.Count];
        var segments = new PlanSegment[3];
        for (int rate = 0; rate < 3; rate++)
        {
            var steps = nodes.Where(n => (int)n.Rate == rate && IsStep(n)).ToArray();
            var choices = Array.ConvertAll(steps, n => Choose(n, Operands(n)));
            var lifetimes = new List<Lifetime>();
            for (int i = 0; i < steps.Length; i++)
            {
                // What outlives the run is also alive before its step, or an earlier step of the next run would overwrite it.
                bool kept = lastUse[steps[i].Id] == int.MaxValue;
                lifetimes.Add(new Lifetime(steps[i].Type.Bytes, kept ? 0 : i, lastUse[steps[i].Id]));
            }

            for (int i = 0; i < steps.Length; i++) lifetimes.Add(new Lifetime(choices[i].Scratch, i, i));
            var (offsets, bytes) = ArenaPass.Place(lifetimes);
            var planned = new PlanStep[steps.Length];
            for (int i = 0; i < steps.Length; i++)
            {
                places[steps[i].Id] = new Place(Storage.Arena, (Rate)rate, offsets[i]);
                planned[i] = new PlanStep(
                    steps[i], choices[i].Winner, choices[i].Declined, steps[i].Op.Cost(Operands(steps[i]), steps[i].Type), offsets[steps.Length + i], choices[i].Scratch);
            }

            segments[rate] = new PlanSegment((Rate)rate, planned, bytes);
        }

        foreach (var node in nodes)
        {
            if (node.Op is InputOp) places[node.Id] = new Place(Storage.Input, node.Rate, 0);
            else if (node.Op is WeightOp or ConstantOp) places[node.Id] = new Place(Storage.Weight, Rate.Load, 0);
            else if (node.Op is ReshapeOp) places[node.Id] = places[alias[node.Id]];
        }

        return new Plan(graph, places, segments, System.Diagnostics.Stopwatch.GetElapsedTime(start));

        static bool IsStep(Node node) => node.Op is not (InputOp or WeightOp or ConstantOp or ReshapeOp);

        TensorType[] Operands(Node node) => Array.ConvertAll(node.Inputs, i => types[i]);

        (IImplementation Winner, List<(string, string)> Declined, long Scratch) Choose(Node node, TensorType[] operands)
        {
            var declined = new List<(string, string)>();
            foreach (var candidate in implementations(node.Op))
            {
                if ((candidate.Declines(node, operands) ?? candidate.DeclinesWeight(graph, node)) is { } reason) declined.Add((candidate.Name, reason));
                else return (candidate, declined, candidate.ScratchBytes(node, operands));
            }

            throw new DeviceException(
                $"no implementation of {node.Op.Name} for {string.Join(", ", operands)}{(node.Layer.Length > 0 ? $" in {node.Layer}" : "")}"
                + (declined.Count > 0 ? $": {string.Join("; ", declined.Select(d => $"{d.Item1}: {d.Item2}"))}" : ""));
        }
    }
}
