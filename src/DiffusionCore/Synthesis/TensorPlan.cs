namespace DiffusionCore.Synthesis;

/// <summary>A tensor to be made: numbers spread evenly over [Center - Reach, Center + Reach].</summary>
/// <param name="Dims">As the file has them.</param>
public sealed record TensorPlan(string Name, long[] Dims, float Center, float Reach)
{
    public long Count => Dims.Aggregate(1L, (a, d) => a * d);
}

/// <summary>
/// Collects the tensors of a network by layers. Products keep the scale of what goes in (variance gain^2/fan-in); the last one of a
/// residual branch gets a small gain, so that the sum of all branches keeps its size however deep the network is.
/// </summary>
internal sealed class LayoutBuilder
{
    /// <summary>Gain of the last product of a residual branch.</summary>
    public const float Branch = 0.3f;

    private const float Small = 0.02f;

    private static readonly float UniformReach = MathF.Sqrt(3);

    private readonly List<TensorPlan> tensors = [];

    public IReadOnlyList<TensorPlan> Tensors => tensors;

    public void Linear(string name, long outputs, long inputs, float gain = 1, bool bias = true) => Product(name, [outputs, inputs], gain, bias);

    public void Conv(string name, long outputs, long inputs, long kernel, float gain = 1, bool bias = true) => Product(name, [outputs, inputs, kernel, kernel], gain, bias);

    public void Norm(string name, long channels)
    {
        tensors.Add(new(name + ".weight", [channels], 1, Small));
        tensors.Add(new(name + ".bias", [channels], 0, Small));
    }

    public void Table(string name, long rows, long width, float deviation) => tensors.Add(new(name + ".weight", [rows, width], 0, deviation * UniformReach));

    private void Product(string name, long[] dims, float gain, bool bias)
    {
        long fanIn = dims[1..].Aggregate(1L, (a, d) => a * d);
        tensors.Add(new(name + ".weight", dims, 0, gain * UniformReach / MathF.Sqrt(fanIn)));
        if (bias) tensors.Add(new(name + ".bias", [dims[0]], 0, Small));
    }
}
