namespace DiffusionCore.Runtime.Passes;

/// <summary>
/// Rewrites a graph with fewer, larger operations. The patterns:
/// <list type="bullet">
/// <item>group norm, [* (1 + scale) + shift], [activation] -> one norm;</item>
/// <item>linear or convolution, [+ channel vector], [activation], [+ residual], [* number] -> one product with an epilogue;</item>
/// <item>nearest upsampling by a whole factor, then a convolution with its epilogue -> one convolution, where the device has it;</item>
/// <item>a half of the channels times the GELU of the other half -> GEGLU, and with the linear layer before it one product where the device has it.</item>
/// </list>
/// A value is fused away only where nothing else reads it. Nodes that no output needs are dropped.
/// </summary>
public static class FusePass
{
    /// <param name="supports">Whether a device computes an operation itself; those that not every device knows are fused only where it does.</param>
    public static Graph Run(Graph graph, Func<Op, bool>? supports = null)
    {
        var needed = Reachable(graph);
        var readers = new List<int>[graph.Nodes.Count];
        for (int i = 0; i < readers.Length; i++) readers[i] = [];
        foreach (var node in graph.Nodes)
            if (needed[node.Id])
                foreach (int i in node.Inputs) readers[i].Add(node.Id);
        foreach (var (_, id) in graph.Outputs) readers[id].Add(-1);       // an output has a reader that no pattern can absorb

        var replaced = new Dictionary<int, Match>();                       // keyed by the node whose value the match produces
        var absorbed = new bool[graph.Nodes.Count];
        var claimed = new bool[graph.Nodes.Count];                         // part of some match already
        var matcher = new Matcher(graph, readers, claimed, supports ?? (_ => false));
        foreach (var node in graph.Nodes)
        {
            if (!needed[node.Id] || claimed[node.Id] || matcher.At(node) is not { } match) continue;
            replaced[match.Last] = match;
            foreach (int id in match.Absorbed) absorbed[id] = claimed[id] = true;
            absorbed[match.Last] = false;
            claimed[match.Last] = true;
        }

        var result = new Graph();
        var map = new int[graph.Nodes.Count];
        foreach (var node in graph.Nodes)
        {
            if (!needed[node.Id] || absorbed[node.Id]) continue;
            if (replaced.TryGetValue(node.Id, out var match))
            {
                var template = node with { Op = match.Op };
                map[node.Id] = result.Append(template, Array.ConvertAll(match.Operands, i => map[i]), graph.Nodes[match.First].Layer).Id;
            }
            else
            {
                map[node.Id] = result.Append(node, Array.ConvertAll(node.Inputs, i => map[i]), node.Layer).Id;
            }
        }

        foreach (var (name, id) in graph.Outputs) result.Output(name, new Value(result, map[id]));
        return result;
    }

    // Kernels take the gate sixteen columns at a time.
    private const int GateLanes = 16;

    private static bool[] Reachable(Graph graph)
    {
        var needed = new bool[graph.Nodes.Count];
        foreach (var (_, id) in graph.Outputs) needed[id] = true;
        for (int id = graph.Nodes.Count - 1; id >= 0; id--)
        {
            if (graph.Nodes[id].Op is InputOp) needed[id] = true;          // inputs stay bindable even where unused
            if (!needed[id]) continue;
            foreach (int i in graph.Nodes[id].Inputs) needed[i] = true;
        }

        return needed;
    }

    /// <param name="First">The node that gives the layer name.</param>
    /// <param name="Last">The node whose value is replaced.</param>
    /// <param name="Absorbed">Nodes that disappear, Last among them or not.</param>
    private sealed record Match(Op Op, int[] Operands, int First, int Last, List<int> Absorbed);

    private sealed class Matcher(Graph graph, List<int>[] readers, bool[] claimed, Func<Op, bool> supports)
    {
        public Match? At(Node node) => node.Op switch
        {
            GroupNormOp norm => Norm(node, norm),
            LinearOp or Conv2dOp => Product(node),
            UpsampleNearestOp upsample => Upsampled(node, upsample),
            BinaryOp { Function: Binary.Mul } => Geglu(node),
            _ => null,
        };

        // The only reader of a value, where there is exactly one and it reads the value once. A reader that runs more often is none: fused
        // with it, what is computed once per request would be computed at every step.
        private Node? Reader(int id)
        {
            if (readers[id].Count != 1 || readers[id][0] < 0) return null;
            var node = graph.Nodes[readers[id][0]];
            return !claimed[node.Id] && node.Rate == graph.Nodes[id].Rate && node.Inputs.Count(i => i == id) == 1 ? node : null;
        }

        private static int Other(Node node, int id) => node.Inputs[0] == id ? node.Inputs[1] : node.Inputs[0];

        private bool IsChannelVector(int id, Shape y)
        {
            var s = graph.Nodes[id].Type.Shape;
            if (s.Rank != y.Rank || s.Rank < 2 || s[0] != y[0] || s[-1] != y[-1]) return false;
            for (int a = 1; a < s.Rank - 1; a++)
                if (s[a] != 1) return false;
            return y.Count > s.Count;
        }

        private Match? Norm(Node node, GroupNormOp norm)
        {
            int last = node.Id;
            var absorbed = new List<int> { last };
            int[] operands = node.Inputs;
            bool modulated = false;
            var activation = Activation.None;

            // * (1 + scale) + shift
            if (Reader(last) is { Op: BinaryOp { Function: Binary.Mul } } mul
                && graph.Nodes[Other(mul, last)] is { Op: AffineOp { A: 1, B: 1 } } onePlus
                && IsChannelVector(onePlus.Id, node.Type.Shape)
                && Reader(mul.Id) is { Op: BinaryOp { Function: Binary.Add } } add
                && IsChannelVector(Other(add, mul.Id), node.Type.Shape))
            {
                operands = [.. operands, onePlus.Inputs[0], Other(add, mul.Id)];
                absorbed.AddRange([mul.Id, add.Id]);
                if (readers[onePlus.Id].Count == 1) absorbed.Add(onePlus.Id);
                modulated = true;
                last = add.Id;
            }

            if (Reader(last) is { Op: UnaryOp unary } act && unary.AsActivation is { } a)
            {
                activation = a;
                last = act.Id;
                absorbed.Add(last);
            }

            return last == node.Id ? null : new Match(new FusedGroupNormOp(norm, modulated, activation), operands, node.Id, last, absorbed);
        }

        // Enlarging by a whole factor, read by one convolution only.
        private Match? Upsampled(Node node, UpsampleNearestOp upsample)
        {
            var s = graph.Nodes[node.Inputs[0]].Type;
            int factor = (int)(upsample.OutHeight / s.Shape[1]);
            if (factor < 2 || upsample.OutHeight != s.Shape[1] * factor || upsample.OutWidth != s.Shape[2] * factor || s.DType != DType.F32) return null;
            if (Reader(node.Id) is not { Op: Conv2dOp { Groups: 1 } core } conv || conv.Inputs[0] != node.Id) return null;
            if (graph.Nodes[conv.Inputs[1]].Op is not WeightOp || !supports(new UpsampledConv2dOp(core, EpilogueSpec.None, factor))) return null;
            var product = Product(conv);
            var epilogue = (product?.Op as FusedConv2dOp)?.Epilogue ?? EpilogueSpec.None;
            int[] operands = [node.Inputs[0], .. (product?.Operands ?? conv.Inputs)[1..]];
            return new Match(new UpsampledConv2dOp(core, epilogue, factor), operands, conv.Id, product?.Last ?? conv.Id, [node.Id, .. product?.Absorbed ?? [conv.Id]]);
        }

        private Match? Product(Node node)
        {
            int last = node.Id;
            var absorbed = new List<int> { last };
            var epilogue = EpilogueSpec.None;
            int? channel = null, residual = null;
            while (Reader(last) is { } next)
            {
                if (next.Op is BinaryOp { Function: Binary.Add } && next.Type.Shape == node.Type.Shape && epilogue.Scale == 1 && !epilogue.Residual)
                {
                    int other = Other(next, last);
                    if (!epilogue.ChannelAdd && epilogue.Activation == Activation.None && IsChannelVector(other, node.Type.Shape))
                    {
                        epilogue = epilogue with { ChannelAdd = true };
                        channel = other;
                    }
                    else if (graph.Nodes[other].Type == node.Type)
                    {
                        epilogue = epilogue with { Residual = true };
                        residual = other;
                    }
                    else
                    {
                        break;
                    }
                }
                else if (next.Op is UnaryOp unary && unary.AsActivation is { } activation && epilogue is { Activation: Activation.None, Residual: false, Scale: 1 })
                {
                    epilogue = epilogue with { Activation = activation };
                }
                else if (next.Op is AffineOp { B: 0 } affine && epilogue.Scale == 1)
                {
                    epilogue = epilogue with { Scale = affine.A };
                }
                else
                {
                    break;
                }

                last = next.Id;
                absorbed.Add(last);
            }

            if (epilogue.IsNone) return null;
            int[] operands = [.. node.Inputs];
            if (channel is { } c) operands = [.. operands, c];
            if (residual is { } r) operands = [.. operands, r];
            Op op = node.Op is LinearOp linear ? new FusedLinearOp(linear, epilogue) : new FusedConv2dOp((Conv2dOp)node.Op, epilogue);
            return new Match(op, operands, node.Id, last, absorbed);
        }

        private Match? Geglu(Node mul)
        {
            for (int side = 0; side < 2; side++)
            {
                var plain = graph.Nodes[mul.Inputs[side]];
                var gelu = graph.Nodes[mul.Inputs[1 - side]];
                if (plain.Op is not SliceOp first || gelu.Op is not UnaryOp { Function: Unary.Gelu } || graph.Nodes[gelu.Inputs[0]] is not { Op: SliceOp second } gate) continue;
                int source = plain.Inputs[0];
                var shape = graph.Nodes[source].Type.Shape;
                if (gate.Inputs[0] != source || shape.Rank == 0 || shape[-1] % 2 != 0 || !Half(first, shape, 0) || !Half(second, shape, shape[-1] / 2)) continue;
                if (Reader(plain.Id) is null || Reader(gelu.Id) is null || Reader(gate.Id) is null) continue;
                int[] halves = [plain.Id, gelu.Id, gate.Id];
                var product = graph.Nodes[source];
                bool alone = !claimed[source] && readers[source].Count == 2 && readers[source].Contains(plain.Id) && readers[source].Contains(gate.Id);
                return alone && product.Op is LinearOp linear && graph.Nodes[product.Inputs[1]].Op is WeightOp && shape[-1] % (2 * GateLanes) == 0 && supports(new LinearGegluOp(linear))
                    ? new Match(new LinearGegluOp(linear), product.Inputs, source, mul.Id, [source, .. halves])
                    : new Match(new GegluOp(), [source], mul.Id, mul.Id, [.. halves]);
            }

            return null;

            static bool Half(SliceOp slice, Shape s, long start)
            {
                for (int a = 0; a < s.Rank; a++)
                {
                    bool last = a == s.Rank - 1;
                    if (slice.Step[a] != 1 || slice.Start[a] != (last ? start : 0) || slice.Count[a] != (last ? s[a] / 2 : s[a])) return false;
                }

                return true;
            }
        }
    }
}
