using DiffusionCore.Runtime;

namespace DiffusionCore.Peers;

/// <summary>
/// A graph in double precision, as <see cref="Interpreter"/> means it: the same numbers to rounding, with products and copies fast enough for a whole network, and every
/// value dropped after its last use.
/// </summary>
internal static unsafe class DoubleNetwork
{
    /// <param name="graph">As recorded, not fused.</param>
    public static Dictionary<string, double[]> Run(Graph graph, IReadOnlyDictionary<string, double[]> inputs)
    {
        var last = new int[graph.Nodes.Count];
        foreach (var node in graph.Nodes)
            foreach (int i in node.Inputs) last[i] = node.Id;
        foreach (var (_, id) in graph.Outputs) last[id] = int.MaxValue;
        var values = new double[graph.Nodes.Count][];
        foreach (var node in graph.Nodes)
        {
            if (node.Op is WeightOp) continue;                             // read where it is used, and not kept
            if (node.Op is InputOp input)
            {
                values[node.Id] = inputs[input.InputName];
                continue;
            }

            double[][] x = Array.ConvertAll(node.Inputs, i => graph.Nodes[i].Op is WeightOp weight ? Interpreter.ReadWeight(weight.Source) : values[i]);
            values[node.Id] = Evaluate(node, x, Array.ConvertAll(node.Inputs, i => graph.Nodes[i].Type));
            foreach (int i in node.Inputs)
                if (last[i] == node.Id) values[i] = [];
        }

        return graph.Outputs.ToDictionary(o => o.Name, o => values[o.Id]);
    }

    private static double[] Evaluate(Node node, double[][] x, TensorType[] types) => node.Op switch
    {
        LinearOp => Linear(x, types),
        Conv2dOp { Groups: 1 } conv => Convolution(conv, x, types, node.Type.Shape),
        AttentionOp { Causal: false, Mask: false } attention => Attention(attention, x, types),
        ConcatOp concat when concat.Axis == types[0].Shape.Rank - 1 => Beside(x, types, node.Type.Shape),
        SliceOp slice when slice.Step.All(s => s == 1) && Enumerable.Range(0, types[0].Shape.Rank - 1).All(a => slice.Count[a] == types[0].Shape[a]) => Columns(slice, x[0], types[0].Shape, node.Type.Shape),
        BinaryOp binary when types[0].Shape != types[1].Shape && types[1].Shape.Count == types[1].Shape[0] * types[1].Shape[-1] && types[0].Shape.Rank == types[1].Shape.Rank => PerChannel(binary, x, types),
        _ => Interpreter.Evaluate(node.Op, types, x),
    };

    private static double[] Linear(double[][] x, TensorType[] types)
    {
        int n = (int)types[1].Shape[0], k = (int)types[1].Shape[1], m = (int)(types[0].Shape.Count / k);
        var y = new double[(long)m * n];
        double[] source = x[0];
        DoubleProduct.Run(Block, m, n, k, 0, x[1], x.Length > 2 ? x[2] : null, y);
        return y;

        void Block(int first, int rows, int at, int count, double* dst)
        {
            for (int r = 0; r < rows; r++) source.AsSpan((first + r) * k + at, count).CopyTo(new Span<double>(dst + (long)r * count, count));
        }
    }

    private static double[] Convolution(Conv2dOp op, double[][] x, TensorType[] types, Shape y)
    {
        Shape s = types[0].Shape, w = types[1].Shape;
        int outputs = (int)w[0], channels = (int)w[1], kh = (int)w[2], kw = (int)w[3], k = channels * kh * kw, height = (int)s[1], width = (int)s[2];
        var weights = new double[x[1].Length];                              // [outputs, taps, channels]
        Parallel.For(0, outputs, o =>
        {
            for (int c = 0; c < channels; c++)
                for (int t = 0; t < kh * kw; t++) weights[(long)o * k + t * channels + c] = x[1][((long)o * channels + c) * kh * kw + t];
        });
        var result = new double[y.Count];
        double[] source = x[0];
        DoubleProduct.Run(Block, (int)(y.Count / outputs), outputs, k, channels, weights, x.Length > 2 ? x[2] : null, result);
        return result;

        void Block(int first, int rows, int at, int count, double* dst)
        {
            int tap = at / channels, from = at % channels, di = tap / kw * op.DilationH - op.PadTop, dj = tap % kw * op.DilationW - op.PadLeft;
            for (int r = 0; r < rows; r++)
            {
                int pixel = first + r, image = pixel / (int)(y[1] * y[2]);
                int i = pixel / (int)y[2] % (int)y[1] * op.StrideH + di, j = pixel % (int)y[2] * op.StrideW + dj;
                var to = new Span<double>(dst + (long)r * count, count);
                if (i < 0 || i >= height || j < 0 || j >= width) to.Clear();
                else source.AsSpan(((image * height + i) * width + j) * channels + from, count).CopyTo(to);
            }
        }
    }

    private static double[] Attention(AttentionOp op, double[][] x, TensorType[] types)
    {
        Shape q = types[0].Shape, k = types[1].Shape, v = types[2].Shape;
        int queries = (int)q[1], keys = (int)k[1], width = (int)q[2], values = (int)v[2], d = width / op.Heads, e = values / op.Heads;
        var y = new double[q[0] * queries * values];
        for (int b = 0; b < q[0]; b++)
        {
            for (int h = 0; h < op.Heads; h++)
            {
                var rows = Head(x[0], b * queries, queries, width, h * d, d);
                var scores = new double[(long)queries * keys];
                Product(rows, Head(x[1], b * keys, keys, width, h * d, d), queries, keys, d, scores);
                Parallel.For(0, queries, i =>
                {
                    var p = scores.AsSpan(i * keys, keys);
                    double top = double.NegativeInfinity, total = 0;
                    foreach (double s in p) top = Math.Max(top, s * op.Scale);
                    for (int j = 0; j < keys; j++) total += p[j] = Math.Exp(p[j] * op.Scale - top);
                    for (int j = 0; j < keys; j++) p[j] /= total;
                });
                var turned = new double[(long)e * keys];
                for (int j = 0; j < keys; j++)
                    for (int c = 0; c < e; c++) turned[(long)c * keys + j] = x[2][((long)b * keys + j) * values + h * e + c];
                var mixed = new double[(long)queries * e];
                Product(scores, turned, queries, e, keys, mixed);
                for (int i = 0; i < queries; i++) mixed.AsSpan(i * e, e).CopyTo(y.AsSpan((b * queries + i) * values + h * e, e));
            }
        }

        return y;

        static double[] Head(double[] x, int first, int rows, int pitch, int at, int count)
        {
            var part = new double[(long)rows * count];
            for (int r = 0; r < rows; r++) x.AsSpan((first + r) * pitch + at, count).CopyTo(part.AsSpan(r * count, count));
            return part;
        }
    }

    private static void Product(double[] a, double[] w, int m, int n, int k, double[] y)
    {
        DoubleProduct.Run(Block, m, n, k, 0, w, null, y);

        void Block(int first, int rows, int at, int count, double* dst)
        {
            for (int r = 0; r < rows; r++) a.AsSpan((first + r) * k + at, count).CopyTo(new Span<double>(dst + (long)r * count, count));
        }
    }

    private static double[] Beside(double[][] x, TensorType[] types, Shape to)
    {
        var y = new double[to.Count];
        int width = (int)to[-1], at = 0;
        for (int p = 0; p < x.Length; p++)
        {
            int own = (int)types[p].Shape[-1];
            for (int r = 0; r < y.Length / width; r++) x[p].AsSpan(r * own, own).CopyTo(y.AsSpan(r * width + at, own));
            at += own;
        }

        return y;
    }

    private static double[] Columns(SliceOp slice, double[] x, Shape from, Shape to)
    {
        var y = new double[to.Count];
        int width = (int)from[-1], own = (int)to[-1], start = (int)slice.Start[from.Rank - 1];
        for (int r = 0; r < y.Length / own; r++) x.AsSpan(r * width + start, own).CopyTo(y.AsSpan(r * own, own));
        return y;
    }

    private static double[] PerChannel(BinaryOp op, double[][] x, TensorType[] types)
    {
        var y = new double[x[0].Length];
        int channels = (int)types[0].Shape[-1], each = (int)(types[0].Shape.Count / types[0].Shape[0]);
        bool one = types[1].Shape[0] == 1;
        if (types[1].Shape[-1] != channels) return Interpreter.Evaluate(op, types, x);
        for (int i = 0; i < y.Length; i++) y[i] = Interpreter.Apply(op.Function, x[0][i], x[1][(one ? 0 : i / each * channels) + i % channels]);
        return y;
    }
}
