namespace DiffusionCore.Imaging.Jpeg;

/// <summary>One colour component of a frame.</summary>
internal sealed class Component(int id, int h, int v, int quantization)
{
    public int Id { get; } = id;

    /// <summary>Blocks of this component in one unit of an interleaved scan, across and down.</summary>
    public int H { get; } = h;

    public int V { get; } = v;

    public int Quantization { get; } = quantization;

    /// <summary>Samples that belong to the picture.</summary>
    public int Width { get; set; }

    public int Height { get; set; }

    /// <summary>Blocks of a scan of this component alone.</summary>
    public int BlocksAcross => (Width + 7) / 8;

    public int BlocksDown => (Height + 7) / 8;

    /// <summary>Blocks in memory: whole units of an interleaved scan.</summary>
    public int Stride { get; set; }

    public int Rows { get; set; }

    /// <summary>[row][column][frequency in natural order].</summary>
    public short[] Coefficients { get; set; } = [];

    /// <summary>Of each frequency, the bits that are still to come; -1 before its first scan.</summary>
    public sbyte[] Precision { get; } = [.. Enumerable.Repeat((sbyte)-1, 64)];

    /// <summary>The value of the last DC coefficient.</summary>
    public int Predicted { get; set; }

    public Span<short> Block(int row, int column) => Coefficients.AsSpan((row * Stride + column) * 64, 64);
}
