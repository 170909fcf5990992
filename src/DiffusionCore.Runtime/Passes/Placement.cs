namespace DiffusionCore.Runtime.Passes;

/// <summary>Where every computed value and every step's scratch lies, for given homes of the values.</summary>
internal sealed class Placement
{
    private readonly Graph graph;
    private readonly int[] alias;
    private readonly bool[] shared;

    /// <param name="alias">Of each node the one whose buffer it shares: a reshape's operand, else itself.</param>
    /// <param name="homes">Of each node that computes a value, its buffer.</param>
    /// <param name="scratch">Bytes that the step of each node needs while it runs.</param>
    private Placement(Graph graph, int[] alias, Residence[] homes, long[] scratch)
    {
        (this.graph, this.alias, Homes) = (graph, alias, homes);
        shared = new bool[homes.Length];
        for (int i = 0; i < homes.Length; i++) shared[homes[i].Owner] |= homes[i].Owner != i;
        var (first, last) = Lives();
        for (int rate = 0; rate < Steps.Length; rate++)
        {
            var steps = Steps[rate] = [.. graph.Nodes.Where(n => (int)n.Rate == rate && IsStep(n))];
            var owners = graph.Nodes.Where(n => (int)n.Rate == rate && Computes(n) && homes[n.Id].Owner == n.Id).ToArray();

            // What outlives the run is also alive before its step, or an earlier step of the next run would overwrite it.
            var lives = owners.Select(n => new Lifetime(n.Type.Bytes, last[n.Id] == int.MaxValue ? 0 : first[n.Id], last[n.Id])).ToList();
            for (int i = 0; i < steps.Length; i++) lives.Add(new Lifetime(scratch[steps[i].Id], i, i));
            (long[] offsets, Bytes[rate]) = ArenaPass.Place(lives);
            for (int i = 0; i < owners.Length; i++) Offsets[owners[i].Id] = offsets[i];
            for (int i = 0; i < steps.Length; i++) Scratch[steps[i].Id] = offsets[owners.Length + i];
        }
    }

    /// <summary>Of each node, its buffer.</summary>
    public Residence[] Homes { get; }

    /// <summary>Nodes that run, in order, by rate.</summary>
    public Node[][] Steps { get; } = new Node[3][];

    /// <summary>Bytes of the arena of each rate.</summary>
    public long[] Bytes { get; } = new long[3];

    /// <summary>Of each node that owns a buffer, where it begins.</summary>
    public Dictionary<int, long> Offsets { get; } = [];

    /// <summary>Of each step, where its scratch begins.</summary>
    public Dictionary<int, long> Scratch { get; } = [];

    /// <summary>Places every value; where <paramref name="candidates"/> are given, concatenations do without a copy as far as no arena grows by it.</summary>
    /// <remarks>
    /// Operands of a skip live from the way down to the way up, and with them, in place, the room of what is to come beside them: taken wherever it can be, that
    /// made the arenas a quarter to a third larger (SD1.5's U-Net at a 64x64 latent: 79 to 96 MB; the bundled network at batch 16: 21 to 28 MB) and neither
    /// network faster by more than the measurement's noise of 1 %.
    /// </remarks>
    public static Placement Of(Graph graph, int[] alias, long[] scratch, IEnumerable<(Node Concat, (int Id, Residence Home)[] Operands)> candidates)
    {
        var homes = new Residence[graph.Nodes.Count];
        for (int i = 0; i < homes.Length; i++) homes[i] = new Residence(i, 0, 0);
        var best = new Placement(graph, alias, homes, scratch);
        long[] limits = best.Bytes;
        foreach (var (concat, operands) in candidates.OrderByDescending(c => c.Concat.Type.Bytes))
        {
            var tried = (Residence[])best.Homes.Clone();
            foreach (var (id, home) in operands) tried[id] = home;
            var placed = new Placement(graph, alias, tried, scratch);
            if (placed.Bytes[(int)concat.Rate] <= limits[(int)concat.Rate]) best = placed;
        }

        return best;
    }

    public static bool Computes(Node node) => node.Op is not (InputOp or WeightOp or ConstantOp or ReshapeOp);

    /// <summary>A concatenation whose operands are written in place has no step.</summary>
    public bool IsStep(Node node) => Computes(node) && !shared[node.Id];

    // First and last step, within the owner's rate, at which each buffer must be intact; what a faster rate reads, or the caller, outlives the run.
    private (int[] First, int[] Last) Lives()
    {
        var order = new int[graph.Nodes.Count];
        var counts = new int[3];
        foreach (var node in graph.Nodes)
            if (IsStep(node)) order[node.Id] = counts[(int)node.Rate]++;
        int[] first = new int[order.Length], last = new int[order.Length];
        Array.Fill(first, int.MaxValue);
        foreach (var node in graph.Nodes)
        {
            if (!IsStep(node)) continue;
            int own = Homes[node.Id].Owner;
            first[own] = Math.Min(first[own], order[node.Id]);
            last[own] = Math.Max(last[own], order[node.Id]);
            foreach (int input in node.Inputs)
            {
                int owner = Homes[alias[input]].Owner;
                last[owner] = node.Rate == graph.Nodes[owner].Rate ? Math.Max(last[owner], order[node.Id]) : int.MaxValue;
            }
        }

        foreach (var (_, id) in graph.Outputs) last[Homes[alias[id]].Owner] = int.MaxValue;
        return (first, last);
    }
}
