using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>A tensor of a file as another layout has it.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="Key">Its name in the file.</param>
/// <param name="Part">Which of <paramref name="Parts"/> equal parts along the first axis.</param>
/// <param name="Transposed">Rows and columns change places when it is read.</param>
/// <param name="Matrix">A 1x1 kernel is a matrix there.</param>
public sealed record TensorView(string Name, string Key, int Part = 0, int Parts = 1, bool Transposed = false, bool Matrix = false)
{
    /// <summary>The entry under its new name, with the extents that it is read as.</summary>
    internal TensorEntry Of(TensorEntry entry, string file)
    {
        long[] dims = [.. entry.Dims];
        if (Matrix && dims.Length == 4 && dims[2] == 1 && dims[3] == 1) dims = dims[..2];
        if (Parts > 1)
        {
            if (dims.Length == 0 || dims[0] % Parts != 0) throw new ModelFileException(file, Key, $"expected a first extent that divides by {Parts}, found [{string.Join(", ", entry.Dims)}]");
            dims[0] /= Parts;
        }

        if (Transposed)
        {
            if (dims.Length != 2 || entry.Type.Bits() % 8 != 0) throw new ModelFileException(file, Key, $"expected a matrix, found {entry.Type.FileName()} [{string.Join(", ", entry.Dims)}]");
            Array.Reverse(dims);
        }

        long bytes = entry.Bytes / Parts;
        return entry with { Name = Name, Dims = dims, Offset = entry.Offset + (Part * bytes), Bytes = bytes };
    }

    /// <param name="dims">Of the result.</param>
    internal static void Transpose(ReadOnlySpan<byte> src, long[] dims, int size, Span<byte> dst)
    {
        int rows = (int)dims[0], columns = (int)dims[1];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) src.Slice(((c * rows) + r) * size, size).CopyTo(dst[(((r * columns) + c) * size)..]);
    }
}
