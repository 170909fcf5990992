using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Peers;

/// <summary>
/// Writes a recorded graph as an ONNX model. What is [N, H, W, C] in the graph is [N, C, H, W] in the model, inputs and outputs included; everything else keeps its
/// shape. Only operations of Stable Diffusion's U-Net and decoder are known; any other is refused.
/// </summary>
internal sealed class OnnxExporter
{
    private static readonly int[] ChannelsFirst = [0, 3, 1, 2], ChannelsLast = [0, 2, 3, 1];

    // Axes of a map: where each of ours is in the model.
    private static readonly int[] MapAxis = [0, 2, 3, 1];

    private readonly OnnxWriter w = new();
    private readonly Graph graph;
    private readonly GraphForm form;
    private readonly ExternalWeights weights;
    private readonly string[] names;
    private readonly HashSet<string> constants = [];

    private OnnxExporter(Graph graph, GraphForm form, ExternalWeights weights)
    {
        (this.graph, this.form, this.weights) = (graph, form, weights);
        names = new string[graph.Nodes.Count];
    }

    /// <param name="graph">As recorded, not fused.</param>
    /// <exception cref="NotSupportedException">An operation has no form here.</exception>
    public static byte[] Export(Graph graph, GraphForm form, ExternalWeights weights) => new OnnxExporter(graph, form, weights).Run();

    /// <summary>Extents of a value in the model.</summary>
    public static long[] Extents(Shape shape) => shape.Rank == 4 ? [shape[0], shape[3], shape[1], shape[2]] : shape.ToArray();

    private byte[] Run()
    {
        foreach (var node in graph.Nodes)
        {
            if (node.Op is WeightOp) continue;
            if (node.Op is InputOp input)
            {
                if (node.Type.DType != DType.F32) throw new NotSupportedException($"input {input.InputName} is {node.Type.DType}");
                names[node.Id] = w.Input(input.InputName, Extents(node.Type.Shape));
                continue;
            }

            names[node.Id] = Node(node);
        }

        foreach (var (name, id) in graph.Outputs)
        {
            w.Node("Identity", [names[id]], result: name);
            w.Output(name, Extents(graph.Nodes[id].Type.Shape));
        }

        return w.ToArray();
    }

    private Shape ShapeOf(int id) => graph.Nodes[id].Type.Shape;

    private string Node(Node node)
    {
        var i = node.Inputs;
        return node.Op switch
        {
            LinearOp linear => Linear(node, linear),
            Conv2dOp conv => Convolution(i, conv),
            GroupNormOp norm => GroupNorm(i, norm),
            LayerNormOp norm => w.Node("LayerNormalization", [names[i[0]], Vector(i[1]), Vector(i[2])], attributes: [("axis", -1), ("epsilon", norm.Epsilon)]),
            AttentionOp { Causal: false, Mask: false } attention => Attention(i, attention),
            UnaryOp { Function: Unary.Silu } => form == GraphForm.Fused ? w.Node("QuickGelu", [names[i[0]]], "com.microsoft", attributes: [("alpha", 1f)]) : w.Node("Mul", [names[i[0]], w.Node("Sigmoid", [names[i[0]]])]),
            UnaryOp { Function: Unary.Gelu } => w.Node("Gelu", [names[i[0]]]),
            BinaryOp { Function: Binary.Add } => w.Node("Add", Alike(i)),
            BinaryOp { Function: Binary.Mul } => w.Node("Mul", Alike(i)),
            AffineOp affine => w.Node("Add", [w.Node("Mul", [names[i[0]], Scalar(affine.A)]), Scalar(affine.B)]),
            ReshapeOp => Reshape(names[i[0]], ShapeOf(i[0]), node.Type.Shape),
            ConcatOp concat => w.Node("Concat", Array.ConvertAll(i, id => names[id]), attributes: [("axis", Axis(concat.Axis, node.Type.Shape))]),
            SliceOp slice => Slice(names[i[0]], slice, ShapeOf(i[0])),
            ExpandOp => w.Node("Expand", [names[i[0]], Extents("s", Extents(node.Type.Shape))]),
            UpsampleNearestOp => w.Node("Resize", [names[i[0]], "", "", Extents("s", Extents(node.Type.Shape))], attributes: [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")]),
            SinusoidalEmbeddingOp embedding => Sinusoidal(names[i[0]], embedding),
            _ => throw new NotSupportedException($"{node.Layer}: {node.Op.Name} {node.Type}"),
        };
    }

    private static int Axis(int axis, Shape shape) => shape.Rank == 4 ? MapAxis[axis] : axis;

    private string[] Alike(int[] operands)
    {
        if (operands.Any(id => ShapeOf(id).Rank != ShapeOf(operands[0]).Rank)) throw new NotSupportedException("operands of several ranks");
        return Array.ConvertAll(operands, id => names[id]);
    }

    private string Vector(int id) => Stored(id, turned: false);

    private string Stored(int id, bool turned)
    {
        if (graph.Nodes[id].Op is not WeightOp { Source: var source }) throw new NotSupportedException("a weight that is computed");
        string name = source.Name + (turned ? ".T" : "");
        if (constants.Add(name))
        {
            var (offset, bytes) = weights.Place(source, turned);
            var s = source.Type.Shape;
            w.External(name, weights.File, offset, bytes, turned ? [s[1], s[0]] : s.ToArray());
        }

        return name;
    }

    private string Scalar(float value) => Floats($"c{value:R}", [value]);

    private string Floats(string name, float[] values, params long[] dims)
    {
        if (constants.Add(name)) w.Constant(name, values, dims);
        return name;
    }

    private string Extents(string prefix, params long[] dims)
    {
        string name = $"{prefix}_{string.Join('_', dims)}";
        if (constants.Add(name)) w.Shape(name, dims);
        return name;
    }

    private string Linear(Node node, LinearOp op)
    {
        var i = node.Inputs;
        string x = names[i[0]], matrix = Stored(i[1], turned: true);
        if (form == GraphForm.Plain || !op.Bias)
        {
            string product = w.Node("MatMul", [x, matrix]);
            return op.Bias ? w.Node("Add", [product, Vector(i[2])]) : product;
        }

        var s = ShapeOf(i[0]);
        string flat = s.Rank == 2 ? x : w.Node("Reshape", [x, Extents("s", -1, s[-1])]), y = w.Node("Gemm", [flat, matrix, Vector(i[2])]);
        return s.Rank == 2 ? y : w.Node("Reshape", [y, Extents("s", node.Type.Shape.ToArray())]);
    }

    private string Convolution(int[] i, Conv2dOp op)
    {
        string[] operands = op.Bias ? [names[i[0]], Vector(i[1]), Vector(i[2])] : [names[i[0]], Vector(i[1])];
        var kernel = ShapeOf(i[1]);
        return w.Node("Conv", operands, attributes: [
            ("kernel_shape", new[] { (int)kernel[2], (int)kernel[3] }), ("pads", new[] { op.PadTop, op.PadLeft, op.PadBottom, op.PadRight }), ("strides", new[] { op.StrideH, op.StrideW }),
            ("dilations", new[] { op.DilationH, op.DilationW }), ("group", op.Groups)]);
    }

    // Neither the standard's group normalisation nor the peer's own has a kernel on its CPU; exporters write this.
    private string GroupNorm(int[] i, GroupNormOp op)
    {
        var s = ShapeOf(i[0]);
        float[] ones = new float[op.Groups], zeros = new float[op.Groups];
        Array.Fill(ones, 1);
        string groups = w.Node("Reshape", [names[i[0]], Extents("s", s[0], op.Groups, -1)]);
        string normal = w.Node("InstanceNormalization", [groups, Floats($"one{op.Groups}", ones, op.Groups), Floats($"zero{op.Groups}", zeros, op.Groups)], attributes: [("epsilon", op.Epsilon)]);
        string back = w.Node("Reshape", [normal, Extents("s", Extents(s))]);
        return w.Node("Add", [w.Node("Mul", [back, PerChannel(i[1])]), PerChannel(i[2])]);
    }

    private string PerChannel(int id)
    {
        if (graph.Nodes[id].Op is not WeightOp { Source: var source }) throw new NotSupportedException("a weight that is computed");
        return Floats(source.Name + ".map", ExternalWeights.Read(source), source.Type.Shape[0], 1, 1);
    }

    private string Attention(int[] i, AttentionOp op)
    {
        string q = names[i[0]], k = names[i[1]], v = names[i[2]];
        if (form == GraphForm.Fused) return w.Node("MultiHeadAttention", [q, k, v], "com.microsoft", attributes: [("num_heads", op.Heads), ("scale", op.Scale)]);
        var s = ShapeOf(i[0]);
        string scores = w.Node("Mul", [w.Node("MatMul", [Heads(i[0], 0, 2, 1, 3), Heads(i[1], 0, 2, 3, 1)]), Scalar(op.Scale)]);
        string mixed = w.Node("MatMul", [w.Node("Softmax", [scores], attributes: [("axis", -1)]), Heads(i[2], 0, 2, 1, 3)]);
        return w.Node("Reshape", [Transposed(mixed, [0, 2, 1, 3]), Extents("s", s[0], s[1], ShapeOf(i[2])[2])]);

        string Heads(int id, params int[] order)
        {
            var t = ShapeOf(id);
            return Transposed(w.Node("Reshape", [names[id], Extents("s", t[0], t[1], op.Heads, t[2] / op.Heads)]), order);
        }
    }

    private string Transposed(string x, int[] order) => w.Node("Transpose", [x], attributes: [("perm", order)]);

    // A reshape between maps and tokens moves the channels; vectors of one pixel do not have to.
    private string Reshape(string x, Shape from, Shape to)
    {
        bool one = (from.Rank == 4 && from[1] * from[2] == 1) || (to.Rank == 4 && to[1] * to[2] == 1);
        if (from.Rank == 4 && !one) x = Transposed(x, ChannelsLast);
        if (to.Rank != 4 || one) return w.Node("Reshape", [x, Extents("s", Extents(to))]);
        return Transposed(w.Node("Reshape", [x, Extents("s", to.ToArray())]), ChannelsFirst);
    }

    private string Slice(string x, SliceOp op, Shape from)
    {
        if (op.Step.Any(step => step != 1)) throw new NotSupportedException("slice with a step");
        for (int a = 0; a < from.Rank; a++)
        {
            if (op.Count[a] == from[a]) continue;
            x = w.Node("Slice", [x, Extents("s", op.Start[a]), Extents("s", op.Start[a] + op.Count[a]), Extents("s", Axis(a, from))]);
        }

        return x;
    }

    // In double as ours: at times near 1000 an angle in single precision is off by 3e-5.
    private string Sinusoidal(string t, SinusoidalEmbeddingOp op)
    {
        int half = op.Dim / 2;
        var frequencies = new double[half];
        for (int i = 0; i < half; i++) frequencies[i] = op.Scale * Math.Exp(-Math.Log(op.MaxPeriod) * i / (half - op.Shift));
        string wide = w.Node("Cast", [w.Node("Reshape", [t, Extents("s", -1, 1)])], attributes: [("to", OnnxWriter.Double)]);
        string angles = w.Node("Mul", [wide, w.Doubles($"frequencies{op.Dim}", frequencies, half)]);
        string sin = w.Node("Sin", [angles]), cos = w.Node("Cos", [angles]);
        string both = w.Node("Concat", op.Flip ? [cos, sin] : [sin, cos], attributes: [("axis", -1)]);
        return w.Node("Cast", [both], attributes: [("to", OnnxWriter.Float)]);
    }
}
