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
public readonly record struct Place(Storage Storage, Rate Rate, long Offset)
{
    /// <summary>Elements between the starts of its rows where it is a range of channels of a larger buffer; 0 where its rows lie one after another.</summary>
    public long Pitch { get; init; }
}

/// <summary>One launch: a node, who computes it, where its scratch lies.</summary>
/// <param name="Declined">Implementations that were asked first, and why each declined.</param>
public sealed record PlanStep(
    Node Node, IImplementation Implementation, IReadOnlyList<(string Name, string Reason)> Declined, Cost Cost, long ScratchOffset, long ScratchBytes)
{
    /// <summary>Floating-point operations that the implementation does; the cost counts those of the operation's definition.</summary>
    public double ExecutedFlops { get; init; }
}

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

    /// <summary>Floating-point operations that a run of the node does: fewer than its definition has where there is a way round some of them.</summary>
    double ExecutedFlops(Node node, ReadOnlySpan<TensorType> operands) => node.Op.Cost(operands, node.Type).Flops;

    /// <summary>The result, where an operand is asked for by its index.</summary>
    const int Result = -1;

    /// <summary>Whether the rows of an operand, or of the <see cref="Result"/>, may lie further apart than they are wide.</summary>
    bool TakesPitch(Node node, int operand) => false;
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

        var choices = new (IImplementation? Winner, List<(string, string)> Declined, long Scratch)[nodes.Count];
        foreach (var node in nodes)
            if (Placement.Computes(node)) choices[node.Id] = Choose(node, Operands(node));
        var placement = Placement.Of(graph, alias, Array.ConvertAll(choices, c => c.Scratch), fuse ? ConcatPass.Find(graph, alias, Array.ConvertAll(choices, c => c.Winner)) : []);

        var places = new Place[nodes.Count];
        var segments = new PlanSegment[3];
        for (int rate = 0; rate < 3; rate++)
        {
            var planned = Array.ConvertAll(placement.Steps[rate], n => new PlanStep(
                n, choices[n.Id].Winner!, choices[n.Id].Declined, n.Op.Cost(Operands(n), n.Type), placement.Scratch[n.Id], choices[n.Id].Scratch)
            {
                ExecutedFlops = choices[n.Id].Winner!.ExecutedFlops(n, Operands(n)),
            });
            segments[rate] = new PlanSegment((Rate)rate, planned, placement.Bytes[rate]);
        }

        foreach (var node in nodes)
        {
            if (!Placement.Computes(node)) continue;
            var home = placement.Homes[node.Id];
            places[node.Id] = new Place(Storage.Arena, node.Rate, placement.Offsets[home.Owner] + home.Offset) { Pitch = home.Pitch };
        }

        foreach (var node in nodes)
        {
            if (node.Op is InputOp) places[node.Id] = new Place(Storage.Input, node.Rate, 0);
            else if (node.Op is WeightOp or ConstantOp) places[node.Id] = new Place(Storage.Weight, Rate.Load, 0);
            else if (node.Op is ReshapeOp) places[node.Id] = places[alias[node.Id]];
        }

        return new Plan(graph, places, segments, System.Diagnostics.Stopwatch.GetElapsedTime(start));

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
