using System.Buffers.Binary;
using System.Text;
using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging;

/// <summary>The chunk structure of PNG files (W3C PNG, 3rd edition): its chunks, checked, and text chunks in and out.</summary>
public static class PngFile
{
    private static readonly byte[] Signature = [0x89, (byte)'P', (byte)'N', (byte)'G', 13, 10, 26, 10];

    private const int MaximumKey = 79;

    internal const int HeaderBytes = 13;

    public static bool IsPng(ReadOnlySpan<byte> file) => file.StartsWith(Signature);

    /// <summary>Width and height of a header chunk.</summary>
    /// <exception cref="ModelFileException">None, or more than <see cref="ImageLimits"/> allow.</exception>
    internal static (int Width, int Height) Size(ReadOnlySpan<byte> header, string name)
    {
        uint width = BinaryPrimitives.ReadUInt32BigEndian(header), height = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
        return width > 0 && height > 0 && width <= ImageLimits.MaximumSide && height <= ImageLimits.MaximumSide && (long)width * height <= ImageLimits.MaximumPixels
            ? ((int)width, (int)height)
            : throw new ModelFileException(name, null, $"has {width}x{height} pixels; expected 1 to {ImageLimits.MaximumSide} on a side and at most {ImageLimits.MaximumPixels} in all");
    }

    /// <summary>The text chunks (tEXt and uncompressed iTXt) in order.</summary>
    /// <exception cref="ModelFileException">Not a PNG, or damaged.</exception>
    public static List<(string Key, string Text)> ReadTexts(byte[] file, string name)
    {
        if (!IsPng(file)) throw new ModelFileException(name, null, "is not a PNG");
        var texts = new List<(string, string)>();
        foreach (var (type, data) in Chunks(file, name))
        {
            int zero = data.Span.IndexOf((byte)0);
            if (zero < 0) continue;
            string key = Encoding.Latin1.GetString(data.Span[..zero]);
            if (type == "tEXt")
            {
                texts.Add((key, Encoding.Latin1.GetString(data.Span[(zero + 1)..])));
            }
            else if (type == "iTXt" && data.Length > zero + 2 && data.Span[zero + 1] == 0)
            {
                var rest = data.Span[(zero + 3)..];
                for (int skipped = 0; skipped < 2; skipped++) rest = rest[(rest.IndexOf((byte)0) + 1)..];
                texts.Add((key, Encoding.UTF8.GetString(rest)));
            }
        }

        return texts;
    }

    /// <summary>The file with text chunks after its header: tEXt where Latin-1 says it all, iTXt for the rest.</summary>
    /// <param name="texts">Keys are 1 to 79 printable Latin-1 characters, as the standard asks.</param>
    public static byte[] WithTexts(byte[] file, IReadOnlyList<(string Key, string Text)> texts)
    {
        const int HeaderEnd = 8 + 8 + 13 + 4;
        using var result = new MemoryStream();
        result.Write(file, 0, HeaderEnd);
        foreach (var (key, text) in texts)
        {
            if (key.Length is 0 or > MaximumKey || !key.All(IsPrintableLatin)) throw new ArgumentException($"a PNG text key is 1 to {MaximumKey} printable Latin-1 characters, not '{key}'", nameof(texts));
            bool latin = text.All(c => c == '\n' || IsPrintableLatin(c));
            byte[] data = latin
                ? [.. Encoding.Latin1.GetBytes(key), 0, .. Encoding.Latin1.GetBytes(text)]
                : [.. Encoding.Latin1.GetBytes(key), 0, 0, 0, 0, 0, .. Encoding.UTF8.GetBytes(text)];
            WriteChunk(result, latin ? "tEXt"u8 : "iTXt"u8, data);
        }

        result.Write(file, HeaderEnd, file.Length - HeaderEnd);
        return result.ToArray();
    }

    private static bool IsPrintableLatin(char c) => c is (>= ' ' and <= '~') or (>= '\u00A1' and <= 'ÿ');

    private static void WriteChunk(Stream target, ReadOnlySpan<byte> type, byte[] data)
    {
        byte[] body = [.. type, .. data];
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, data.Length);
        target.Write(number);
        target.Write(body);
        BinaryPrimitives.WriteUInt32BigEndian(number, Crc(body));
        target.Write(number);
    }

    /// <summary>The chunks up to IEND, each with its length and checksum checked.</summary>
    internal static IEnumerable<(string Type, ReadOnlyMemory<byte> Data)> Chunks(byte[] file, string name)
    {
        int at = Signature.Length;
        while (at < file.Length)
        {
            if (file.Length - at < 12) throw new ModelFileException(name, null, "is a truncated PNG");
            uint length = BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at));
            if (length > int.MaxValue || length > file.Length - at - 12) throw new ModelFileException(name, null, "is a truncated PNG: a chunk ends after the file");
            var body = file.AsMemory(at + 4, (int)length + 4);
            string type = Encoding.Latin1.GetString(body.Span[..4]);
            if (BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at + 8 + (int)length)) != Crc(body.Span)) throw new ModelFileException(name, type, "has a wrong checksum; the PNG is damaged");
            yield return (type, body[4..]);
            at += 12 + (int)length;
            if (type == "IEND") yield break;
        }
    }

    private static readonly uint[] Table = [.. Enumerable.Range(0, 256).Select(n =>
    {
        uint c = (uint)n;
        for (int k = 0; k < 8; k++) c = (c & 1) != 0 ? 0xEDB88320 ^ (c >> 1) : c >> 1;
        return c;
    })];

    private static uint Crc(ReadOnlySpan<byte> data)
    {
        uint c = 0xFFFFFFFF;
        foreach (byte b in data) c = Table[(c ^ b) & 0xFF] ^ (c >> 8);
        return c ^ 0xFFFFFFFF;
    }
}
