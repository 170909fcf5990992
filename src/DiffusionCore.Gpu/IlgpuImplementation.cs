using DiffusionCore.Runtime;
using ILGPU;

namespace DiffusionCore.Gpu;

/// <summary>An implementation on an ILGPU device: says what it accepts and builds bound launches.</summary>
internal abstract class IlgpuImplementation : IImplementation
{
    public abstract string Name { get; }

    public string? Declines(Node node, ReadOnlySpan<TensorType> operands)
    {
        if (node.Type.Shape.Count > int.MaxValue) return "the result has more than 2^31 elements";
        for (int i = 0; i < operands.Length; i++)
            if (operands[i].Shape.Count > int.MaxValue) return $"operand {i} has more than 2^31 elements";
        return DeclinesTypes(node, operands);
    }

    /// <summary>Null where the node's weight operands are stored in a form that it takes, else why not.</summary>
    public virtual string? DeclinesWeight(Graph graph, Node node) => null;

    public virtual long ScratchBytes(Node node, ReadOnlySpan<TensorType> operands) => 0;

    /// <summary>The launch of one node; runs many times, allocates nothing.</summary>
    public abstract Action Build(IlgpuBuild build);

    protected abstract string? DeclinesTypes(Node node, ReadOnlySpan<TensorType> operands);

    /// <summary>The usual condition: floats in single precision. Operands may be weights of any float type, which are widened.</summary>
    protected static string? NeedsF32(Node node, ReadOnlySpan<TensorType> operands, int from = 0)
    {
        if (node.Type.DType != DType.F32) return $"the result is {node.Type.DType}";
        for (int i = from; i < operands.Length; i++)
            if (!operands[i].DType.IsFloat()) return $"operand {i} is {operands[i].DType}";
        return null;
    }

    protected static readonly Action Nothing = static () => { };
}

/// <summary>Where a node's bytes are when a step runs: bound inputs may move between runs.</summary>
internal sealed class Slot
{
    public ArrayView<byte> Bytes { get; set; }

    public ArrayView<float> Floats => Bytes.Cast<float>();

    public ArrayView<T> As<T>()
        where T : unmanaged => Bytes.Cast<T>();
}

/// <summary>What an implementation needs to bind a step: types, memory, kernels.</summary>
internal sealed class IlgpuBuild(IlgpuDevice device, IlgpuExecutable executable, PlanStep step)
{
    public IlgpuDevice Device => device;

    public KernelSet Kernels => device.Kernels;

    public Node Node => step.Node;

    public Op Op => step.Node.Op;

    public TensorType Result => step.Node.Type;

    /// <summary>Elements of the result.</summary>
    public int Count => checked((int)step.Node.Type.Shape.Count);

    public int OperandCount => step.Node.Inputs.Length;

    public Shape Shape(int operand) => RecordedType(operand).Shape;

    /// <summary>The type as it lies in memory: a stored weight is F32 there whatever the file has.</summary>
    public TensorType Type(int operand) => Source(operand) is null ? RecordedType(operand) : RecordedType(operand) with { DType = DType.F32 };

    public Slot Operand(int operand) => executable.SlotOf(step.Node.Inputs[operand]);

    public Slot Output() => executable.SlotOf(step.Node.Id);

    /// <summary>The stored tensor behind an operand, looking through reshapes; null where it is computed.</summary>
    public IWeightSource? Source(int operand) => SourceOf(executable.Plan.Graph, step.Node.Inputs[operand]);

    public ArrayView<DiffusionCore.Kernels.Float4> Packed(int operand, int outputs, int inputs, int taps) => executable.Weights.Packed(Source(operand)!, outputs, inputs, taps).As<DiffusionCore.Kernels.Float4>();

    /// <summary>Numbers known now, on the device as long as the executable.</summary>
    public ArrayView<T> Constant<T>(T[] values)
        where T : unmanaged => executable.Constant<T>(values);

    /// <summary>A flag that a kernel may set when the data is at fault; looked at after the run.</summary>
    public ArrayView<int> Failure(Func<DiffusionCoreException> error) => executable.Failure(step.Node.Rate, error);

    public static IWeightSource? SourceOf(Graph graph, int id)
    {
        var node = graph.Nodes[id];
        while (node.Op is ReshapeOp) node = graph.Nodes[node.Inputs[0]];
        return (node.Op as WeightOp)?.Source;
    }

    public TensorType RecordedType(int operand) => executable.Plan.Graph.Nodes[step.Node.Inputs[operand]].Type;
}
