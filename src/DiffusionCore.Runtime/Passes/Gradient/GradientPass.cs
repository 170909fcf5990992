namespace DiffusionCore.Runtime.Passes;

/// <summary>
/// Differentiation: appends to a recorded graph, before it is fused, the nodes that compute a vector-Jacobian product. Node by node from the result
/// back, each operation's rule turns the gradient of its result into those of its operands; what several nodes read is summed. Rules are made of the same
/// operations that networks are made of, so that devices need nothing new but the gradient of group normalisation.
/// </summary>
public static partial class GradientPass
{
    /// <summary>The gradient of sum(seed * y) with respect to each of <paramref name="inputs"/>, in the shapes of these.</summary>
    /// <param name="seed">In the shape of <paramref name="y"/>.</param>
    /// <exception cref="GradientException">An operation on the way has no derivative, or none for an operand that depends on the inputs.</exception>
    public static Value[] Append(Graph g, Value y, Value seed, params ReadOnlySpan<Value> inputs)
    {
        if (seed.Shape != y.Shape) throw new ArgumentException($"the seed {seed.Shape} has not the shape of the result {y.Shape}", nameof(seed));
        int last = y.Id;
        var active = new bool[last + 1];
        foreach (var x in inputs)
            if (x.Id <= last) active[x.Id] = true;
        for (int id = 0; id <= last; id++)
        {
            // Whole numbers do not vary.
            var node = g.Nodes[id];
            if (!active[id]) active[id] = node.Type.DType.IsFloat() && Array.Exists(node.Inputs, i => active[i]);
        }

        var gradients = new Dictionary<int, Value> { [last] = seed };
        for (int id = last; id >= 0; id--)
        {
            if (!active[id] || !gradients.TryGetValue(id, out var dy)) continue;
            var node = g.Nodes[id];
            bool[] wanted = Array.ConvertAll(node.Inputs, i => active[i]);
            if (!Array.Exists(wanted, w => w)) continue;                    // one of the inputs, which depends on no other
            using var layer = g.Layer(node.Layer.Length > 0 ? node.Layer + ".grad" : "grad");
            var rule = new Rule(g, node, dy, wanted);
            var parts = Apply(rule);
            for (int i = 0; i < wanted.Length; i++)
            {
                if (!wanted[i]) continue;
                var part = parts[i] ?? throw new GradientException(node, $"none with respect to operand {i}");
                int operand = node.Inputs[i];
                gradients[operand] = gradients.TryGetValue(operand, out var sum) ? g.Plus(sum, part) : part;
            }
        }

        var results = new Value[inputs.Length];
        for (int i = 0; i < results.Length; i++)
            results[i] = gradients.TryGetValue(inputs[i].Id, out var found) ? found : g.Expand(g.Constant([0], new Shape(1)), inputs[i].Shape);
        return results;
    }

    /// <summary>Null where an operation has a derivative, else why not.</summary>
    public static string? Declines(Op op) => op switch
    {
        InputOp or WeightOp or ConstantOp => null,
        CastOp { To: not (DType.F32 or DType.F64 or DType.F16 or DType.BF16) } => "whole numbers do not vary",
        PadOp { Mode: not PadMode.Constant } pad => $"{pad.Mode} borders",
        MaxPoolOp => "the places of the maxima are not kept",
        NearestCodeOp => "the choice of a code is a step",
        PickTokenOp => "a text is not differentiated",
        SinusoidalEmbeddingOp or FourierEmbeddingOp => "times are not differentiated",
        GroupMomentsOp or GivenGroupNormOp => "tiles of a map are not differentiated",
        GroupNormGradientOp => "it is a derivative itself",
        ResizeOp => "it would have to scatter",
        _ => null,
    };

    private static Value?[] Apply(Rule r)
    {
        if (Declines(r.Node.Op) is { } reason) throw new GradientException(r.Node, reason);
        return r.Node.Op switch
        {
            FusedOp fused => Fused(r, fused),
            UnaryOp op => [r.G.Times(r.Dy, Derivative(r, op.Function))],
            BinaryOp op => Combined(r, op.Function),
            AffineOp op => [r.G.Affine(r.Dy, op.A)],
            CastOp => [r.G.Cast(r.Dy, r.X(0).DType)],
            ReshapeOp => [r.G.Reshape(r.Dy, r.X(0).Shape.ToArray())],
            TransposeOp op => [Transposed(r, op)],
            ConcatOp op => Parted(r, op),
            SliceOp op => [Scattered(r, op)],
            PadOp op => [Trimmed(r, op)],
            ExpandOp => [ReduceTo(r.G, r.Dy, r.X(0).Shape)],
            EmbeddingOp => [null, null],
            LinearOp op => Linear(r, op),
            MatMulOp op => Product(r, op),
            Conv2dOp op => Convolution(r, op),
            ConvTranspose2dOp op => Transposed(r, op),
            AttentionOp op => Attention(r, op),
            SoftmaxOp => [Softmax(r)],
            GroupNormOp op => GroupNorm(r, op),
            LayerNormOp op => LayerNorm(r, op),
            RmsNormOp op => RmsNorm(r, op),
            UpsampleNearestOp op => [Shrunk(r, op)],
            AveragePoolOp op => [Spread(r, op)],
            FirResampleOp op => [Filtered(r, op)],
            _ => throw new GradientException(r.Node, "no rule"),
        };
    }

    // What a fused operation stands for is recorded again and differentiated.
    private static Value?[] Fused(Rule r, FusedOp op)
    {
        Value[] operands = [.. Enumerable.Range(0, r.Node.Inputs.Length).Select(r.X)];
        var y = op.Unfused(r.G, operands);
        int[] wanted = [.. Enumerable.Range(0, operands.Length).Where(r.Wants)];
        var found = Append(r.G, y, r.Dy, [.. wanted.Select(i => operands[i])]);
        var all = new Value?[operands.Length];
        for (int i = 0; i < wanted.Length; i++) all[wanted[i]] = found[i];
        return all;
    }

    /// <summary>Sums a value over the axes along which a smaller shape is repeated in it.</summary>
    private static Value ReduceTo(Graph g, Value v, Shape to)
    {
        if (v.Shape == to) return v;
        long[] from = v.Shape.ToArray(), target = [.. Enumerable.Repeat(1L, from.Length - to.Rank), .. to.ToArray()];
        for (int end = from.Length; end > 0; end--)
        {
            if (target[end - 1] == from[end - 1]) continue;
            int start = end - 1;
            while (start > 0 && target[start - 1] == 1) start--;
            long outer = 1, count = 1, inner = 1;
            for (int a = 0; a < from.Length; a++)
            {
                if (a < start) outer *= from[a];
                else if (a < end) count *= from[a];
                else inner *= from[a];
            }

            v = SumMiddle(g, v, outer, count, inner);
            for (int a = start; a < end; a++) from[a] = 1;
            end = start + 1;
        }

        return g.Reshape(v, to.ToArray());
    }

    // [outer, count, inner] to [outer, 1, inner], as a product with ones.
    private static Value SumMiddle(Graph g, Value v, long outer, long count, long inner)
    {
        var ones = new float[count];
        Array.Fill(ones, 1);
        return inner == 1
            ? g.MatMul(g.Reshape(v, outer, count), g.Constant(ones, new Shape(count, 1)))
            : g.MatMul(g.Constant(ones, new Shape(1, count)), g.Reshape(v, outer, count, inner));
    }

    /// <summary>Sum over the last axis, which stays as 1.</summary>
    private static Value SumLast(Graph g, Value v) => ReduceTo(g, v, v.Shape.With(v.Shape.Rank - 1, 1));

    /// <summary>A node to be differentiated and the gradient of its result.</summary>
    private sealed class Rule(Graph g, Node node, Value dy, bool[] wanted)
    {
        public Graph G => g;

        public Node Node => node;

        public Value Dy => dy;

        /// <summary>The node's result.</summary>
        public Value Y => new(g, node.Id);

        /// <summary>An operand.</summary>
        public Value X(int i) => new(g, node.Inputs[i]);

        public bool Wants(int i) => wanted[i];

        public IWeightSource? Stored(int operand) => g.Nodes[node.Inputs[operand]].Op is WeightOp { Source: { Format.IsPlain: true } source } ? source : null;
    }
}

/// <summary>A graph that cannot be differentiated: names the operation and where it stands.</summary>
public sealed class GradientException(Node node, string problem)
    : DiffusionCoreException(ErrorKind.Usage, $"gradient: {node.Op.Name} {node.Type}{(node.Layer.Length > 0 ? $" in {node.Layer}" : "")} has no derivative: {problem}");
