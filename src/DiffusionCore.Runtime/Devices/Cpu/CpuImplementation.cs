namespace DiffusionCore.Runtime;

/// <summary>One launch bound to its memory.</summary>
internal abstract unsafe class CpuStep
{
    public abstract void Run();
}

/// <summary>An implementation on the CPU: says what it accepts and builds bound steps.</summary>
internal abstract class CpuImplementation : IImplementation
{
    public abstract string Name { get; }

    public abstract string? Declines(Node node, ReadOnlySpan<TensorType> operands);

    /// <summary>Null where the node's weight operands are stored in a form that it takes, else why not.</summary>
    public virtual string? DeclinesWeight(Graph graph, Node node) => null;

    public virtual long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) => 0;

    public virtual double ExecutedFlops(Node node, ReadOnlySpan<TensorType> operands) => node.Op.Cost(operands, node.Type).Flops;

    public virtual bool TakesPitch(Node node, int operand) => false;

    public abstract CpuStep Build(CpuBuild build);

    /// <summary>The usual condition: floats in single precision. Operands from <paramref name="from"/> on are checked.</summary>
    protected static string? NeedsF32(Node node, ReadOnlySpan<TensorType> operands, int from = 0)
    {
        if (node.Type.DType != DType.F32) return $"the result is {node.Type.DType}";
        for (int i = from; i < operands.Length; i++)
            if (!operands[i].DType.IsFloat()) return $"operand {i} is {operands[i].DType}";
        return null;
    }
}

/// <summary>What an implementation needs to bind a step: types, memory and workers.</summary>
internal sealed unsafe class CpuBuild(CpuDevice device, CpuExecutable executable, PlanStep step)
{
    public CpuDevice Device => device;

    public Kernels.Host.WorkerPool Pool => device.Pool;

    public Node Node => step.Node;

    public Op Op => step.Node.Op;

    public TensorType Result => step.Node.Type;

    public int OperandCount => step.Node.Inputs.Length;

    public Shape Shape(int operand) => Type(operand).Shape;

    public TensorType Type(int operand) => executable.Plan.Graph.Nodes[step.Node.Inputs[operand]].Type;

    /// <summary>Where the operand's pointer is found when the step runs: bound inputs may move between runs.</summary>
    public byte** Operand(int operand) => executable.Slot(step.Node.Inputs[operand]);

    /// <summary>Elements between the starts of two rows of an operand, a row being its last axis.</summary>
    public long Pitch(int operand) => PitchOf(step.Node.Inputs[operand]);

    public long ResultPitch() => PitchOf(step.Node.Id);

    public byte** Output() => executable.Slot(step.Node.Id);

    public byte* Scratch() => executable.ArenaAt(step.Node.Rate, step.ScratchOffset);

    /// <summary>The stored tensor behind an operand, looking through reshapes; null where it is computed.</summary>
    public IWeightSource? Source(int operand) => SourceOf(executable.Plan.Graph, step.Node.Inputs[operand]);

    public CpuBuffer Packed(int operand, int outputs, int inputs, int taps) => executable.Weights.Packed(Source(operand)!, outputs, inputs, taps);

    public CpuBuffer Raw(int operand) => executable.Weights.Raw(Source(operand)!);

    private long PitchOf(int id) => executable.Plan.Places[id].Pitch is > 0 and var pitch ? pitch : executable.Plan.Graph.Nodes[id].Type.Shape[-1];

    public static IWeightSource? SourceOf(Graph graph, int id)
    {
        var node = graph.Nodes[id];
        while (node.Op is ReshapeOp) node = graph.Nodes[node.Inputs[0]];
        return (node.Op as WeightOp)?.Source;
    }
}
