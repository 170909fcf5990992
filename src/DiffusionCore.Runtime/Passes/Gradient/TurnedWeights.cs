namespace DiffusionCore.Runtime.Passes;

/// <summary>A stored matrix with rows and columns exchanged, in its stored type. Equal where the sources are.</summary>
public sealed record TurnedMatrix(IWeightSource Source) : IWeightSource
{
    public string Name => Source.Name + "[turned]";

    public TensorType Type => Source.Type with { Shape = new Shape(Source.Type.Shape[1], Source.Type.Shape[0]) };

    public void Read(Span<byte> dst)
    {
        int rows = (int)Source.Type.Shape[0], columns = (int)Source.Type.Shape[1], size = Source.Type.DType.Size();
        var all = new byte[Source.Type.Bytes];
        Source.Read(all);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) all.AsSpan((i * columns + j) * size, size).CopyTo(dst[((j * rows + i) * size)..]);
    }
}

/// <summary>A stored kernel for the way back through its convolution, in its stored type: W'[i, o, u, v] = W[o, i, kh-1-u, kw-1-v]. Equal where the sources are.</summary>
public sealed record TurnedKernel(IWeightSource Source) : IWeightSource
{
    public string Name => Source.Name + "[turned]";

    public TensorType Type => Source.Type with { Shape = new Shape(Source.Type.Shape[1], Source.Type.Shape[0], Source.Type.Shape[2], Source.Type.Shape[3]) };

    public void Read(Span<byte> dst)
    {
        var s = Source.Type.Shape;
        int outputs = (int)s[0], inputs = (int)s[1], taps = (int)(s[2] * s[3]), size = Source.Type.DType.Size();
        var all = new byte[Source.Type.Bytes];
        Source.Read(all);
        for (int o = 0; o < outputs; o++)
            for (int i = 0; i < inputs; i++)
                for (int t = 0; t < taps; t++) all.AsSpan(((o * inputs + i) * taps + t) * size, size).CopyTo(dst[(((i * outputs + o) * taps + taps - 1 - t) * size)..]);
    }
}
