namespace DiffusionCore.Runtime.Passes;

/// <summary>
/// Makes a graph that computes one piece of a larger map normalise as the whole map would: every group norm takes its statistics from an input and
/// tells its own. Added inputs: "area" [4], the rectangle over which own statistics are taken, in pixels of the map input; "own" [1], 1 to
/// normalise by the own statistics, 0 by the given ones; "given.K" [N, Groups, 2] per norm. Added outputs: "moments.K".
/// </summary>
public static class SharedStatisticsPass
{
    /// <param name="graph">Its only input is the piece, [N, H, W, C].</param>
    /// <param name="groups">Groups of each norm, in the order of K.</param>
    public static Graph Run(Graph graph, out int[] groups)
    {
        var fused = FusePass.Run(graph);
        var input = fused.Nodes[fused.Inputs.Values.Single()];
        var result = new Graph();
        var map = new int[fused.Nodes.Count];
        var found = new List<int>();
        Value area = default, own = default, other = default;
        foreach (var node in fused.Nodes)
        {
            var norm = node.Op as GroupNormOp ?? (node.Op as FusedGroupNormOp)?.Core;
            if (norm is null || node.Op is FusedGroupNormOp { Modulated: true })
            {
                map[node.Id] = result.Append(node, Array.ConvertAll(node.Inputs, i => map[i]), node.Layer).Id;
                continue;
            }

            using var layer = result.Layer(node.Layer);
            if (found.Count == 0)
            {
                area = result.Input("area", new Shape(4));
                own = result.Input("own", new Shape(1));
                other = result.Affine(own, -1, 1);
            }

            Value At(int operand) => new(result, map[node.Inputs[operand]]);
            var x = At(0);
            var moments = result.Add(new GroupMomentsOp(norm.Groups, checked((int)(x.Shape[1] / input.Type.Shape[1]))), x, area);
            result.Output($"moments.{found.Count}", moments);
            var given = result.Input($"given.{found.Count}", moments.Shape);
            var used = result.Plus(result.Times(moments, own), result.Times(given, other));
            var op = new GivenGroupNormOp(norm, (node.Op as FusedGroupNormOp)?.Activation ?? Activation.None);
            map[node.Id] = (norm.Affine ? result.Add(op, x, used, At(1), At(2)) : result.Add(op, x, used)).Id;
            found.Add(norm.Groups);
        }

        foreach (var (name, id) in fused.Outputs) result.Output(name, new Value(result, map[id]));
        groups = [.. found];
        return result;
    }
}
