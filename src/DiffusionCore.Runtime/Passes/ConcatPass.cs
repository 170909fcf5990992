namespace DiffusionCore.Runtime.Passes;

/// <summary>A value's buffer: its own, or a range of channels in that of a concatenation.</summary>
/// <param name="Owner">The node whose buffer it is.</param>
/// <param name="Offset">Bytes from the buffer's start.</param>
/// <param name="Pitch">Elements between the starts of its rows; 0 where they lie one after another.</param>
public readonly record struct Residence(int Owner, long Offset, long Pitch);

/// <summary>
/// Concatenation of channels without a copy: its operands are written where the result has them. That can be where each operand is computed by a step of the
/// same rate, and its writer and every one of its readers take rows that lie further apart than they are wide. All operands, or none: what could not be written
/// in place would have to be copied beside what was.
/// </summary>
internal static class ConcatPass
{
    /// <summary>The concatenations that can do without a copy, and where their operands then lie.</summary>
    /// <param name="alias">Of each node the one whose buffer it shares: a reshape's operand, else itself.</param>
    /// <param name="chosen">Who computes each node; null where nobody has to.</param>
    public static List<(Node Concat, (int Id, Residence Home)[] Operands)> Find(Graph graph, int[] alias, IImplementation?[] chosen)
    {
        var nodes = graph.Nodes;
        var readers = new List<(Node Reader, int Operand)>[nodes.Count];
        var fixedRows = new bool[nodes.Count];
        for (int i = 0; i < readers.Length; i++) readers[i] = [];
        foreach (var node in nodes)
        {
            if (node.Op is ReshapeOp)
            {
                // A reshape to rows of another width would see the other channels between its rows.
                var owner = nodes[alias[node.Id]];
                fixedRows[owner.Id] |= node.Type.Shape.Rank == 0 || owner.Type.Shape.Rank == 0 || node.Type.Shape[-1] != owner.Type.Shape[-1];
                continue;
            }

            for (int i = 0; i < node.Inputs.Length; i++) readers[alias[node.Inputs[i]]].Add((node, i));
        }

        foreach (var (_, id) in graph.Outputs) fixedRows[alias[id]] = true;     // callers read outputs row after row

        var found = new List<(Node, (int, Residence)[])>();
        var taken = new HashSet<int>();
        foreach (var node in nodes)
        {
            if (node.Op is not ConcatOp concat || chosen[node.Id] is null || concat.Axis != node.Type.Shape.Rank - 1) continue;
            long size = node.Type.DType.Size(), pitch = node.Type.Shape[-1], at = 0;
            var operands = new (int Id, Residence Home)[node.Inputs.Length];
            bool fits = pitch * size % ArenaPass.Alignment == 0;
            for (int i = 0; i < operands.Length && fits; i++)
            {
                // Rows start on cache lines, as they do in buffers of their own.
                operands[i] = (alias[node.Inputs[i]], new Residence(node.Id, at * size, pitch));
                fits = at * size % ArenaPass.Alignment == 0 && Fits(operands[i].Id, node);
                at += nodes[node.Inputs[i]].Type.Shape[-1];
            }

            if (!fits) continue;
            foreach (var (id, _) in operands) taken.Add(id);
            found.Add((node, operands));
        }

        return found;

        bool Fits(int id, Node concat)
        {
            var node = nodes[id];
            return !fixedRows[id] && node.Rate == concat.Rate && !taken.Contains(id) && chosen[id] is { } writer && writer.TakesPitch(node, IImplementation.Result)
                && readers[id].Count(r => r.Reader.Id == concat.Id) == 1
                && readers[id].TrueForAll(r => r.Reader.Id == concat.Id || (r.Reader.Rate == concat.Rate && chosen[r.Reader.Id]!.TakesPitch(r.Reader, r.Operand)));
        }
    }
}
