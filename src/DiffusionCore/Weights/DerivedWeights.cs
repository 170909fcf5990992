using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>A tensor that is made of stored ones.</summary>
public interface IDerivedWeight : IWeightSource
{
    /// <summary>What it is made of.</summary>
    IReadOnlyList<IWeightSource> Sources { get; }
}

/// <summary>Rows of another tensor, in any order, in its stored type: a fused projection taken apart.</summary>
/// <param name="rows">Row of the source for each row of this one; a row is everything after the first axis.</param>
public sealed class WeightRows(IWeightSource source, string part, int[] rows) : IDerivedWeight
{
    public IReadOnlyList<IWeightSource> Sources { get; } = [source];

    public string Name => $"{source.Name}[{part}]";

    public TensorType Type => source.Type with { Shape = source.Type.Shape.With(0, rows.Length) };

    public void Read(Span<byte> dst)
    {
        var all = new byte[source.Type.Bytes];
        source.Read(all);
        int bytes = checked((int)(source.Type.Bytes / source.Type.Shape[0]));
        for (int i = 0; i < rows.Length; i++) all.AsSpan(rows[i] * bytes, bytes).CopyTo(dst[(i * bytes)..]);
    }
}

/// <summary>A tensor computed from others when it is loaded; F32.</summary>
/// <param name="compute">Its elements, row by row.</param>
/// <param name="sources">What they are computed from.</param>
public sealed class ComputedWeight(string name, Shape shape, Func<double[]> compute, params IReadOnlyList<IWeightSource> sources) : IDerivedWeight
{
    public IReadOnlyList<IWeightSource> Sources => sources;

    public string Name => name;

    public TensorType Type => new(shape, DType.F32);

    public void Read(Span<byte> dst)
    {
        double[] values = compute();
        var floats = MemoryMarshal.Cast<byte, float>(dst);
        for (int i = 0; i < floats.Length; i++) floats[i] = (float)values[i];
    }
}
