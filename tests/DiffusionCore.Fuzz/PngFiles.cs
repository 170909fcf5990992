using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace DiffusionCore.Fuzz;

/// <summary>PNG files of every colour type, depth and interlacing, put together apart from the code under test.</summary>
public static class PngFiles
{
    /// <summary>(first column, first row, columns apart, rows apart) of the seven passes of Adam7.</summary>
    private static readonly (int X, int Y, int Dx, int Dy)[] Passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

    public static readonly (int Colour, int Depth)[] Kinds = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)];

    public static int Channels(int colour) => colour switch { 2 => 3, 4 => 2, 6 => 4, _ => 1 };

    public static byte[] Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 13, 10, 26, 10];

    public static byte[] Header(uint width, uint height, int depth, int colour, int interlace)
    {
        var data = new byte[13];
        BinaryPrimitives.WriteUInt32BigEndian(data, width);
        BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(4), height);
        (data[8], data[9], data[12]) = ((byte)depth, (byte)colour, (byte)interlace);
        return data;
    }

    /// <summary>Bit by bit, from the polynomial of the standard's annex D.</summary>
    public static byte[] Chunk(string type, ReadOnlySpan<byte> data)
    {
        byte[] chunk = [0, 0, 0, 0, .. Encoding.Latin1.GetBytes(type), .. data, 0, 0, 0, 0];
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        uint c = 0xFFFFFFFF;
        foreach (byte b in chunk.AsSpan(4, data.Length + 4))
        {
            c ^= b;
            for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ ((c & 1) * 0xEDB88320u);
        }

        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(chunk.Length - 4), ~c);
        return chunk;
    }

    public static byte[] Deflate(ReadOnlySpan<byte> raw)
    {
        using var target = new MemoryStream();
        using (var zlib = new ZLibStream(target, CompressionLevel.Fastest, leaveOpen: true)) zlib.Write(raw);
        return target.ToArray();
    }

    /// <summary>Rows as the format stores them, before compression: a filter byte, then packed samples, most significant bit first.</summary>
    /// <param name="samples">[row][column][channel], whole numbers of <paramref name="depth"/> bits.</param>
    public static byte[] Rows(int[] samples, int width, int height, int colour, int depth, bool interlaced, Func<int> filter)
    {
        int channels = Channels(colour), step = Math.Max(1, channels * depth / 8);
        using var raw = new MemoryStream();
        foreach (var (x0, y0, dx, dy) in interlaced ? Passes : [(0, 0, 1, 1)])
        {
            int columns = (width - x0 + dx - 1) / dx;
            if (columns <= 0) continue;
            var above = new byte[(columns * channels * depth + 7) / 8];
            for (int y = y0; y < height; y += dy)
            {
                var row = new byte[above.Length];
                for (int i = 0; i < columns * channels; i++)
                {
                    int v = samples[(y * width + x0 + i / channels * dx) * channels + i % channels];
                    if (depth == 16) BinaryPrimitives.WriteUInt16BigEndian(row.AsSpan(2 * i), (ushort)v);
                    else row[i * depth / 8] |= (byte)(v << (8 - depth - i * depth % 8));
                }

                int kind = filter();
                raw.WriteByte((byte)kind);
                for (int i = 0; i < row.Length; i++)
                {
                    int left = i >= step ? row[i - step] : 0, up = above[i], corner = i >= step ? above[i - step] : 0;
                    raw.WriteByte((byte)(row[i] - kind switch { 1 => left, 2 => up, 3 => (left + up) / 2, 4 => Paeth(left, up, corner), _ => 0 }));
                }

                above = row;
            }
        }

        return raw.ToArray();
    }

    private static int Paeth(int left, int up, int corner)
    {
        int p = left + up - corner, a = Math.Abs(p - left), b = Math.Abs(p - up), c = Math.Abs(p - corner);
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }
}
