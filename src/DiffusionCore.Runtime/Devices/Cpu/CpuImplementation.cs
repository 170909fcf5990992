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

    /// <summary>The form in which it reads an operand that is a stored weight.</summary>
    /// <param name="stored">Type in the file.</param>
    public virtual WeightForm Form(int operand, DType stored) => WeightForm.Float;

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
    public byte** Operand(int operand)
    {
        if (Source(operand) is null) return executable.Slot(step.Node.Inputs[operand]);
        return executable.WeightSlot(step.Node.Id, operand, WeightForm.Float);
    }

    /// <summary>Elements between the starts of two rows of an operand, a row being its last axis.</summary>
    public long Pitch(int operand) => PitchOf(step.Node.Inputs[operand]);

    public long ResultPitch() => PitchOf(step.Node.Id);

    public byte** Output() => executable.Slot(step.Node.Id);

    public byte* Scratch() => executable.ArenaAt(step.Node.Rate, step.ScratchOffset);

    /// <summary>The stored tensor behind an operand, looking through reshapes; null where it is computed.</summary>
    public IWeightSource? Source(int operand) => SourceOf(executable.Plan.Graph, step.Node.Inputs[operand]);

    /// <summary>A weight that the implementation's <see cref="CpuImplementation.Form"/> says it reads packed. It stays where it is.</summary>
    public CpuBuffer Packed(int operand, int outputs, int inputs, int taps)
    {
        var type = WeightUse.PackedType(Type(operand).DType);
        return new CpuBuffer(*executable.WeightSlot(step.Node.Id, operand, WeightForm.Packed), PackedWeights.Bytes(outputs, inputs, taps, type));
    }

    public CpuBuffer Raw(int operand) => new(*executable.WeightSlot(step.Node.Id, operand, WeightForm.Raw), Source(operand)!.Type.Bytes);

    private long PitchOf(int id) => executable.Plan.Places[id].Pitch is > 0 and var pitch ? pitch : executable.Plan.Graph.Nodes[id].Type.Shape[-1];

    public static IWeightSource? SourceOf(Graph graph, int id)
    {
        var node = graph.Nodes[id];
        while (node.Op is ReshapeOp) node = graph.Nodes[node.Inputs[0]];
        return (node.Op as WeightOp)?.Source;
    }
}
