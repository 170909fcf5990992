namespace DiffusionCore.Runtime;

/// <summary>How a step on the CPU has a weight.</summary>
internal enum WeightForm
{
    /// <summary>[outputs][inputs][taps] in the canonical packed form of <see cref="PackedWeights"/>, in the stored type where the kernels widen it, else in F32.</summary>
    Packed,

    /// <summary>Widened to F32, as the file orders it.</summary>
    Float,

    /// <summary>The file's bytes: tables whose rows are widened when they are looked up.</summary>
    Raw,
}

/// <summary>A stored tensor in the form that a step reads. Two uses of one tensor in one form are equal, and are held once.</summary>
/// <param name="Shape">As the step sees it: [outputs, inputs, kernel...] of a packed weight, which a reshape may have made of the stored extents.</param>
internal readonly record struct WeightUse(IWeightSource Source, WeightForm Form, Shape Shape)
{
    // Read at once by a thread: what a core's cache holds beside the place that it is packed into.
    private const int PartBytes = 1 << 20;

    /// <summary>Bytes in memory.</summary>
    public long Bytes => Form switch
    {
        WeightForm.Packed => PackedWeights.Bytes((int)Shape[0], (int)(RowElements / Taps), Taps, PackedType(Source.Type.DType)),
        WeightForm.Float => Shape.Count * sizeof(float),
        _ => Source.Type.Bytes,
    };

    /// <summary>Parts are cut between rows: outputs of a matrix, else elements.</summary>
    public long Rows => Form == WeightForm.Packed ? Shape[0] : Shape.Count;

    public long RowElements => Form == WeightForm.Packed ? Shape.Count / Math.Max(Shape[0], 1) : 1;

    /// <summary>Positions of a convolution's kernel; 1 for a matrix.</summary>
    public int Taps
    {
        get
        {
            if (Form != WeightForm.Packed) return 1;
            long taps = 1;
            for (int axis = 2; axis < Shape.Rank; axis++) taps *= Shape[axis];
            return (int)taps;
        }
    }

    /// <summary>Rows that are read at once: whole panels, whatever width they have here. 0 for what can only be read whole.</summary>
    public long PartRows
    {
        get
        {
            if (Source.Type.DType is not (DType.F32 or DType.F16 or DType.BF16) || Rows == 0 || !Source.TryReadPart(0, default)) return 0;
            return Math.Max(1, PartBytes / (RowElements * Source.Type.DType.Size()) / PackedWeights.PartRows) * PackedWeights.PartRows;
        }
    }

    public static WeightType PackedType(DType type) => type switch
    {
        DType.F16 => WeightType.F16,
        DType.BF16 => WeightType.BF16,
        _ => WeightType.F32,
    };
}

/// <summary>A use's place in a plan.</summary>
/// <param name="Rate">The segment.</param>
/// <param name="Step">Index within it.</param>
/// <param name="Node">Id of the step's node.</param>
/// <param name="Operand">Which of the node's inputs.</param>
internal readonly record struct PlacedUse(Rate Rate, int Step, int Node, int Operand, WeightUse Use)
{
    /// <summary>Every weight that the plan's steps read, in the order in which they run.</summary>
    public static PlacedUse[] Of(Plan plan)
    {
        var uses = new List<PlacedUse>();
        foreach (var segment in plan.Segments)
        {
            for (int s = 0; s < segment.Steps.Count; s++)
            {
                var step = segment.Steps[s];
                for (int i = 0; i < step.Node.Inputs.Length; i++)
                {
                    if (CpuBuild.SourceOf(plan.Graph, step.Node.Inputs[i]) is not { } source) continue;
                    var form = ((CpuImplementation)step.Implementation).Form(i, source.Type.DType);
                    var shape = form == WeightForm.Packed ? plan.Graph.Nodes[step.Node.Inputs[i]].Type.Shape : source.Type.Shape;
                    uses.Add(new PlacedUse(segment.Rate, s, step.Node.Id, i, new WeightUse(source, form, shape)));
                }
            }
        }

        return [.. uses];
    }
}
