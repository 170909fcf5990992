namespace DiffusionCore.Runtime.Passes;

/// <summary>
/// A stored matrix or kernel for the way back through its product, in its stored type: outputs and inputs exchanged, and a kernel turned by half a turn,
/// W'[i, o, u, v] = W[o, i, kh-1-u, kw-1-v]. Equal where the sources are.
/// </summary>
public sealed record TurnedWeight(IWeightSource Source) : IWeightSource
{
    public string Name => Source.Name + "[turned]";

    public TensorType Type
    {
        get
        {
            var s = Source.Type.Shape;
            return Source.Type with { Shape = s.With(0, s[1]).With(1, s[0]) };
        }
    }

    public void Read(Span<byte> dst)
    {
        var s = Source.Type.Shape;
        int outputs = (int)s[0], inputs = (int)s[1], taps = (int)(s.Count / (s[0] * s[1])), size = Source.Type.DType.Size();
        var all = new byte[Source.Type.Bytes];
        Source.Read(all);
        for (int o = 0; o < outputs; o++)
            for (int i = 0; i < inputs; i++)
                for (int t = 0; t < taps; t++) all.AsSpan(((o * inputs + i) * taps + t) * size, size).CopyTo(dst[(((i * outputs + o) * taps + taps - 1 - t) * size)..]);
    }
}
