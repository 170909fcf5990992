namespace DiffusionCore.Runtime;

/// <summary>
/// How often a value changes. Load: weights and what follows from them. Request: the prompt or class and what follows from it.
/// Step: the latent and the time. A node's rate is the fastest of its inputs'; the planner cuts one graph into a plan per rate.
/// </summary>
public enum Rate
{
    Load,
    Request,
    Step,
}

/// <summary>Shape and element type of a value.</summary>
public readonly record struct TensorType(Shape Shape, DType DType)
{
    /// <summary>Bytes of the tensor stored densely.</summary>
    public long Bytes => checked(Shape.Count * DType.Size());

    public override string ToString() => $"{DType.ToString().ToLowerInvariant()}{Shape}";
}

/// <summary>The name of a result in a graph; it owns no memory.</summary>
public readonly record struct Value(Graph Graph, int Id)
{
    public TensorType Type => Graph.Nodes[Id].Type;

    public Shape Shape => Type.Shape;

    public DType DType => Type.DType;

    public Rate Rate => Graph.Nodes[Id].Rate;

    public override string ToString() => $"%{Id}:{Type}";
}

/// <summary>One recorded operation. Inputs are ids of earlier nodes of the same graph.</summary>
/// <param name="Layer">Where it comes from, in the model's own key names; empty outside a layer.</param>
public sealed record Node(int Id, Op Op, int[] Inputs, TensorType Type, Rate Rate, string Layer);

/// <summary>Where a weight comes from: a name, a type and its bytes on demand.</summary>
public interface IWeightSource
{
    string Name { get; }

    TensorType Type { get; }

    /// <summary>How its numbers are stored; plain elements of the type unless said otherwise.</summary>
    WeightFormat Format => WeightFormat.Plain(Type.DType);

    /// <summary>Fills <paramref name="dst"/> with the tensor's bytes, row-major, in its stored type.</summary>
    void Read(Span<byte> dst);

    /// <summary>
    /// Fills <paramref name="dst"/> with the tensor's bytes from <paramref name="start"/> on; from several threads at once. False where it can
    /// only be read whole, for every part alike.
    /// </summary>
    bool TryReadPart(long start, Span<byte> dst) => false;
}

/// <summary>
/// A network recorded once. Nodes are appended in execution order, so a node's inputs always precede it.
/// Activations are channels-last, weights keep the logical shape of their file.
/// </summary>
public sealed class Graph
{
    private readonly List<Node> nodes = [];
    private readonly List<(string Name, int Id)> outputs = [];
    private readonly Dictionary<IWeightSource, int> weights = [];
    private readonly Dictionary<string, int> inputs = [];
    private readonly Stack<string> layers = new();

    public IReadOnlyList<Node> Nodes => nodes;

    /// <summary>What whoever records the graph tells the layers that are recorded, such as what to keep for another graph; null where nothing.</summary>
    public object? Guide { get; init; }

    /// <summary>The layer that is being recorded; empty outside a layer.</summary>
    public string CurrentLayer => layers.Count == 0 ? "" : layers.Peek();

    /// <summary>Named results, in the order in which they were declared.</summary>
    public IReadOnlyList<(string Name, int Id)> Outputs => outputs;

    /// <summary>Named inputs and the node that stands for each.</summary>
    public IReadOnlyDictionary<string, int> Inputs => inputs;

    /// <summary>A tensor that the caller binds at each run.</summary>
    public Value Input(string name, Shape shape, DType dtype = DType.F32, Rate rate = Rate.Step)
    {
        if (inputs.ContainsKey(name)) throw new ArgumentException($"input '{name}' is declared twice", nameof(name));
        var value = AppendNode(new InputOp(name), [], new TensorType(shape, dtype), rate);
        inputs[name] = value.Id;
        return value;
    }

    /// <summary>A weight; the same source gives the same node.</summary>
    public Value Weight(IWeightSource source)
    {
        if (weights.TryGetValue(source, out int id)) return new Value(this, id);
        var value = AppendNode(new WeightOp(source), [], source.Type, Rate.Load);
        weights[source] = value.Id;
        return value;
    }

    /// <summary>Numbers known when recording.</summary>
    public Value Constant(float[] data, Shape shape)
    {
        if (data.Length != shape.Count) throw new ArgumentException($"{data.Length} numbers for shape {shape}", nameof(data));
        return AppendNode(new ConstantOp(data), [], new TensorType(shape, DType.F32), Rate.Load);
    }

    /// <summary>Names a result of the graph; it stays readable after a run.</summary>
    public void Output(string name, Value value)
    {
        if (outputs.Exists(o => o.Name == name)) throw new ArgumentException($"output '{name}' is declared twice", nameof(name));
        // An output has memory of its own: an input or a weight that is also a result is copied.
        var root = nodes[Own(value)];
        while (root.Op is ReshapeOp) root = nodes[root.Inputs[0]];
        if (root.Op is InputOp or WeightOp or ConstantOp) value = Add(new ExpandOp(value.Shape), value);
        outputs.Add((name, value.Id));
    }

    /// <summary>Names what is recorded until the result is disposed; nested names are joined with dots.</summary>
    public LayerScope Layer(string name)
    {
        layers.Push(layers.Count == 0 ? name : layers.Peek() + "." + name);
        return new LayerScope(this);
    }

    /// <summary>Appends an operation after checking its operands.</summary>
    /// <exception cref="ShapeException">The operands do not fit the operation.</exception>
    public Value Add(Op op, params ReadOnlySpan<Value> operands)
    {
        var ids = new int[operands.Length];
        var types = new TensorType[operands.Length];
        var rate = Rate.Load;
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = Own(operands[i]);
            types[i] = nodes[ids[i]].Type;
            if (nodes[ids[i]].Rate > rate) rate = nodes[ids[i]].Rate;
        }

        return AppendNode(op, ids, op.Infer(types), rate);
    }

    internal Value Append(Node template, int[] inputIds, string layer)
    {
        if (template.Op is InputOp input) inputs[input.InputName] = nodes.Count;
        nodes.Add(template with { Id = nodes.Count, Inputs = inputIds, Layer = layer });
        return new Value(this, nodes.Count - 1);
    }

    private Value AppendNode(Op op, int[] ids, TensorType type, Rate rate)
    {
        nodes.Add(new Node(nodes.Count, op, ids, type, rate, CurrentLayer));
        return new Value(this, nodes.Count - 1);
    }

    private int Own(Value value) =>
        ReferenceEquals(value.Graph, this) ? value.Id : throw new ArgumentException("the value belongs to another graph");

    /// <summary>Ends a <see cref="Graph.Layer"/>.</summary>
    public readonly struct LayerScope(Graph graph) : IDisposable
    {
        public void Dispose() => graph.layers.Pop();
    }
}

/// <summary>Operands that do not fit an operation: names the operation and the shapes.</summary>
public sealed class ShapeException(Op op, string problem, params TensorType[] operands)
    : ArgumentException($"{op.Name}: {problem} (operands {string.Join(", ", operands)})");
