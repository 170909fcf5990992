namespace DiffusionCore.Runtime.Passes;

/// <summary>What is done to some rows of a batch in some layers.</summary>
public enum Perturbation
{
    /// <summary>Self-attention maps become the identity: a token reads itself alone.</summary>
    Attention,

    /// <summary>A block's result is its input.</summary>
    Skip,
}

/// <summary>
/// Rewrites a recorded network so that the last rows of the batch pass some layers differently, while the others see no change: a worse version of the
/// network in the same batch. Works on any network, because attention is one operation everywhere and layers carry their names.
/// A skipped block still computes the rows that it then replaces; perturbed attention computes no map for them.
/// </summary>
public static class PerturbPass
{
    private static readonly string[] Middles = ["mid_block", "middle_block"];

    /// <param name="firstRow">Index along the first axis from which rows are perturbed.</param>
    /// <param name="layers">Prefixes of layer names; a number n is transformer_blocks.n; empty for the middle.</param>
    /// <exception cref="UsageException">No such layer, or a block that cannot be left out.</exception>
    public static Graph Run(Graph graph, Perturbation kind, long firstRow, IReadOnlyList<string> layers)
    {
        string[] wanted = [.. layers.Select(l => l.Length > 0 && l.All(char.IsAsciiDigit) ? $"transformer_blocks.{l}" : l)];
        var replacements = kind == Perturbation.Attention ? Attentions(graph, wanted) : Blocks(graph, wanted);
        var result = new Graph();
        var map = new int[graph.Nodes.Count];
        foreach (var node in graph.Nodes)
        {
            int[] inputs = Array.ConvertAll(node.Inputs, i => map[i]);
            if (!replacements.TryGetValue(node.Id, out int input))
            {
                map[node.Id] = result.Append(node, inputs, node.Layer).Id;
                continue;
            }

            using (result.Layer(node.Layer))
            {
                Value kept, other;
                if (kind == Perturbation.Attention)
                {
                    kept = result.Add(node.Op, [.. inputs.Select(i => Head(new Value(result, i), node.Type.Shape[0]))]);
                    other = new Value(result, inputs[2]);
                }
                else
                {
                    kept = Head(result.Append(node, inputs, node.Layer), node.Type.Shape[0]);
                    other = new Value(result, map[input]);
                }

                map[node.Id] = result.Concat(0, kept, result.Slice(other, 0, firstRow, node.Type.Shape[0] - firstRow)).Id;
            }
        }

        foreach (var (name, id) in graph.Outputs) result.Output(name, new Value(result, map[id]));
        return result;

        // A mask may have one row for all.
        Value Head(Value v, long rows) => v.Shape[0] == rows ? result.Slice(v, 0, 0, firstRow) : v;
    }

    // Attention of a map's tokens to themselves: keys change with every step, as those of a text do not.
    private static Dictionary<int, int> Attentions(Graph graph, string[] wanted)
    {
        Node[] all = [.. graph.Nodes.Where(n => n.Op is AttentionOp && IsSelf(n))];
        if (wanted.Length == 0) wanted = Default(all.Select(n => n.Layer));
        var found = new Dictionary<int, int>();
        foreach (string layer in wanted)
        {
            Node[] these = [.. all.Where(n => Within(n.Layer, layer))];
            if (these.Length == 0) throw new UsageException($"pag layers: '{layer}' has no self-attention; this network has it in {Listed(all.Select(n => n.Layer))}");
            foreach (var n in these) found[n.Id] = -1;
        }

        return found;

        bool IsSelf(Node n)
        {
            TensorType q = graph.Nodes[n.Inputs[0]].Type, k = graph.Nodes[n.Inputs[1]].Type, v = graph.Nodes[n.Inputs[2]].Type;
            return graph.Nodes[n.Inputs[1]].Rate == Rate.Step && q.Shape == k.Shape && v.Shape == n.Type.Shape && v.DType == n.Type.DType && !n.Layer.EndsWith(".attn2", StringComparison.Ordinal);
        }
    }

    private static Dictionary<int, int> Blocks(Graph graph, string[] wanted)
    {
        string[] all = [.. graph.Nodes.Select(n => Block(n.Layer)).Where(b => b.Length > 0).Distinct()];
        if (all.Length == 0) all = [.. graph.Nodes.Where(n => n.Rate == Rate.Step).Select(n => n.Layer).Where(l => l.Length > 0).Distinct()];
        if (wanted.Length == 0) wanted = Default(all);
        var found = new Dictionary<int, int>();
        foreach (string layer in wanted)
        {
            var inside = new bool[graph.Nodes.Count];
            foreach (var n in graph.Nodes) inside[n.Id] = n.Rate == Rate.Step && n.Op is not InputOp && Within(n.Layer, layer);
            if (!inside.Contains(true)) throw new UsageException($"slg layers: there is no layer '{layer}'; blocks that can be left out are {Listed(all)}");
            var read = new bool[graph.Nodes.Count];
            foreach (var (_, id) in graph.Outputs) read[id] = true;
            foreach (var n in graph.Nodes)
                if (!inside[n.Id])
                    foreach (int i in n.Inputs) read[i] = true;
            Node[] results = [.. graph.Nodes.Where(n => inside[n.Id] && read[n.Id])];
            if (results.Length != 1) throw new UsageException($"slg layers: '{layer}' has {results.Length} results and cannot be left out; blocks that can are {Listed(all)}");
            // What enters the block in the shape that leaves it.
            int[] entering = [.. graph.Nodes.Where(n => inside[n.Id]).SelectMany(n => n.Inputs).Where(i => !inside[i] && graph.Nodes[i].Rate == Rate.Step && graph.Nodes[i].Type == results[0].Type).Distinct()];
            if (entering.Length != 1) throw new UsageException($"slg layers: '{layer}' changes the shape of what it reads and cannot be left out; blocks that can are {Listed(all)}");
            found[results[0].Id] = entering[0];
        }

        return found;
    }

    // The transformer block that a layer lies in; empty where it lies in none.
    private static string Block(string layer)
    {
        const string Name = "transformer_blocks.";
        int at = layer.IndexOf(Name, StringComparison.Ordinal), end = at < 0 ? -1 : layer.IndexOf('.', at + Name.Length);
        return at < 0 ? "" : end < 0 ? layer : layer[..end];
    }

    private static string[] Default(IEnumerable<string> layers)
    {
        string[] all = [.. layers.Distinct()];
        if (Array.Find(Middles, m => Array.Exists(all, l => Within(l, m))) is { } middle) return [.. all.Where(l => Within(l, middle)).Select(l => Block(l) is { Length: > 0 } b ? b : l).Distinct()];
        string[] blocks = [.. all.Select(Block).Where(b => b.Length > 0).Distinct()];
        return blocks.Length > 0 ? [blocks[blocks.Length / 2]] : all.Length > 0 ? [all[all.Length / 2]] : throw new UsageException("this network has no attention and no transformer block that could be perturbed");
    }

    private static bool Within(string layer, string prefix) => layer == prefix || layer.StartsWith(prefix + ".", StringComparison.Ordinal);

    private static string Listed(IEnumerable<string> layers) => string.Join(", ", layers.Distinct());
}
