namespace DiffusionCore.Runtime;

/// <summary>What an operation costs at given shapes.</summary>
/// <param name="Flops">Floating-point operations; a multiply-add counts two. Transcendentals count as in <see cref="Op"/>.</param>
/// <param name="Bytes">Compulsory traffic: each input read once, each output written once.</param>
public readonly record struct Cost(double Flops, double Bytes)
{
    public static Cost operator +(Cost a, Cost b) => new(a.Flops + b.Flops, a.Bytes + b.Bytes);
}

/// <summary>
/// The closed set of operations. A record holds attributes only; operands are edges of the graph. Equal attributes are equal ops.
/// Each knows the type of its result and its cost; its meaning in double precision stands in <see cref="Interpreter"/>.
/// </summary>
public abstract record Op
{
    /// <summary>Flops counted for one exponential-like function, so that activations are not free in a roofline.</summary>
    protected const double Transcendental = 12;

    private protected Op()
    {
    }

    public abstract string Name { get; }

    /// <summary>The type of the result. Throws <see cref="ShapeException"/> where the operands do not fit.</summary>
    public abstract TensorType Infer(ReadOnlySpan<TensorType> x);

    /// <summary>Cost at these operand types; the default counts no arithmetic.</summary>
    public virtual Cost Cost(ReadOnlySpan<TensorType> x, TensorType y) => new(0, Traffic(x, y));

    protected static double Traffic(ReadOnlySpan<TensorType> x, TensorType y)
    {
        double bytes = y.Bytes;
        foreach (var t in x) bytes += t.Bytes;
        return bytes;
    }

    protected void Require(bool condition, string problem, ReadOnlySpan<TensorType> x)
    {
        if (!condition) throw new ShapeException(this, problem, x.ToArray());
    }

    protected void Operands(ReadOnlySpan<TensorType> x, int count) => Require(x.Length == count, $"takes {count} operands, got {x.Length}", x);

    private protected static Shape Broadcast(Op op, ReadOnlySpan<TensorType> x)
    {
        Shape a = x[0].Shape, b = x[1].Shape;
        int rank = Math.Max(a.Rank, b.Rank);
        var dims = new long[rank];
        for (int i = 1; i <= rank; i++)
        {
            long p = i <= a.Rank ? a[-i] : 1, q = i <= b.Rank ? b[-i] : 1;
            if (p != q && p != 1 && q != 1) throw new ShapeException(op, $"{p} and {q} do not broadcast", x.ToArray());
            dims[rank - i] = p == 1 ? q : p;
        }

        return new Shape(dims);
    }
}

/// <summary>An operation that a pass made of several; it carries what it stands for.</summary>
public abstract record FusedOp : Op
{
    private protected FusedOp()
    {
    }

    /// <summary>Records the same computation with unfused operations.</summary>
    public abstract Value Unfused(Graph g, ReadOnlySpan<Value> x);

    /// <summary>The unfused computation in a graph of its own, for the type, the oracle and the cost.</summary>
    public (Graph Graph, Value Result) Expand(ReadOnlySpan<TensorType> x)
    {
        var g = new Graph();
        var operands = new Value[x.Length];
        for (int i = 0; i < operands.Length; i++) operands[i] = g.Input($"x{i}", x[i].Shape, x[i].DType);
        return (g, Unfused(g, operands));
    }

    public override TensorType Infer(ReadOnlySpan<TensorType> x) => Expand(x).Result.Type;

    public override Cost Cost(ReadOnlySpan<TensorType> x, TensorType y)
    {
        var graph = Expand(x).Graph;
        double flops = 0;
        foreach (var node in graph.Nodes)
        {
            var types = Array.ConvertAll(node.Inputs, i => graph.Nodes[i].Type);
            flops += node.Op.Cost(types, node.Type).Flops;
        }

        return new Cost(flops, Traffic(x, y));
    }
}
