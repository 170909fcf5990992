using System.Buffers.Binary;
using System.IO.Compression;
using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging;

/// <summary>
/// PNG pixels (W3C PNG, 3rd edition), every colour type, depth and interlacing, to 8-bit samples. Strict: a file is whole and sound, checksum
/// of the pixels included, or it is refused. Bounds are checked by the language; nothing here is unsafe.
/// </summary>
/// <remarks>16-bit samples keep their high byte; fewer bits are spread over 0 to 255; a palette becomes RGB; tRNS becomes an alpha channel. Gamma and profiles are not applied.</remarks>
internal sealed class PngDecoder
{
    // Deflate makes 258 bytes of two bits at most (RFC 1951): a header that promises more is refused before its memory is asked for.
    private const long MaximumRatio = 1032;

    // First column and row, and the distances, of the seven passes of Adam7 (section 8.2).
    private static readonly (int X, int Y, int Dx, int Dy)[] Adam7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

    private readonly string name;
    private readonly int width, height, depth, colour, channels;
    private readonly bool interlaced;
    private byte[] palette = [], alphas = [];
    private int[]? transparent;
    private byte[] pixels = [];
    private int perPixel;
    private uint sumA = 1, sumB;

    private PngDecoder(string name, ReadOnlySpan<byte> header)
    {
        this.name = name;
        (width, height) = PngFile.Size(header, name);
        (depth, colour) = (header[8], header[9]);
        channels = (colour, depth) switch
        {
            (0, 1 or 2 or 4 or 8 or 16) => 1,
            (3, 1 or 2 or 4 or 8) => 1,
            (2, 8 or 16) => 3,
            (4, 8 or 16) => 2,
            (6, 8 or 16) => 4,
            _ => throw Bad("IHDR", $"colour type {colour} with {depth} bits does not exist"),
        };
        if (header[10] != 0 || header[11] != 0 || header[12] > 1) throw Bad("IHDR", $"compression {header[10]}, filter {header[11]}, interlace {header[12]}: expected 0, 0, and 0 or 1");
        interlaced = header[12] == 1;
    }

    /// <exception cref="ModelFileException">Damaged, truncated or too large.</exception>
    public static Image Decode(byte[] file, string name)
    {
        PngDecoder? decoder = null;
        var data = new List<ReadOnlyMemory<byte>>();
        string before = "";
        bool ended = false;
        foreach (var (type, body) in PngFile.Chunks(file, name))
        {
            if (!type.All(char.IsAsciiLetter)) throw new ModelFileException(name, null, "is a damaged PNG: a chunk's name is not four letters");
            if (decoder is null)
            {
                if (type != "IHDR" || body.Length != PngFile.HeaderBytes) throw new ModelFileException(name, null, "is a PNG without a header");
                decoder = new PngDecoder(name, body.Span);
            }
            else if (type == "IDAT")
            {
                if (data.Count > 0 && before != "IDAT") throw decoder.Bad(type, "is not in one piece");
                data.Add(body);
            }
            else
            {
                decoder.Take(type, body.Span, data.Count > 0);
            }

            ended = type == "IEND";
            before = type;
        }

        if (decoder is null) throw new ModelFileException(name, null, "is a PNG without a header");
        if (!ended) throw new ModelFileException(name, null, "is a truncated PNG: its end is missing");
        return decoder.Pixels(data);
    }

    private void Take(string type, ReadOnlySpan<byte> body, bool afterData)
    {
        switch (type)
        {
            case "IHDR":
                throw Bad(type, "is there twice");
            case "PLTE" when colour is not (0 or 4):
                if (palette.Length > 0 || afterData) throw Bad(type, "is there twice, or after the pixels");
                if (body.Length is 0 or > 768 || body.Length % 3 != 0 || (colour == 3 && body.Length > 3 << depth)) throw Bad(type, $"has {body.Length} bytes, not 3 for each of 1 to {(colour == 3 ? 1 << depth : 256)} colours");
                palette = body.ToArray();
                break;
            case "tRNS" when colour is not (4 or 6):
                if (afterData || transparent is not null || alphas.Length > 0) throw Bad(type, "is there twice, or after the pixels");
                if (colour == 3)
                {
                    if (palette.Length == 0 || body.Length == 0 || body.Length > palette.Length / 3) throw Bad(type, $"has {body.Length} bytes for a palette of {palette.Length / 3} colours");
                    alphas = body.ToArray();
                    break;
                }

                if (body.Length != 2 * channels) throw Bad(type, $"has {body.Length} bytes, expected {2 * channels}");
                transparent = new int[channels];
                for (int c = 0; c < channels; c++) transparent[c] = BinaryPrimitives.ReadUInt16BigEndian(body[(2 * c)..]);
                break;
            default:
                // A capital letter means that the picture cannot be understood without it.
                if (char.IsAsciiLetterUpper(type[0]) && type is not ("PLTE" or "IEND")) throw Bad(type, "is a part that this version does not know, and the picture needs it");
                break;
        }
    }

    private Image Pixels(List<ReadOnlyMemory<byte>> data)
    {
        if (colour == 3 && palette.Length == 0) throw Bad("PLTE", "is missing");
        long raw = 0, compressed = 0;
        foreach (var (x, y, dx, dy) in interlaced ? Adam7 : [(0, 0, 1, 1)])
        {
            int columns = Count(width, x, dx), rows = Count(height, y, dy);
            if (columns > 0) raw += rows * (1 + RowBytes(columns));
        }

        foreach (var part in data) compressed += part.Length;
        if (compressed == 0) throw Bad("IDAT", "is missing");
        if (raw > compressed * MaximumRatio) throw Bad("IDAT", $"has {compressed} bytes, too few for {width}x{height} pixels; the file is truncated or damaged");

        perPixel = colour == 3 ? (alphas.Length > 0 ? 4 : 3) : channels + (transparent is null ? 0 : 1);
        pixels = new byte[(long)width * height * perPixel];
        try
        {
            using var source = new ZLibStream(new PartsStream(data), CompressionMode.Decompress);
            foreach (var pass in interlaced ? Adam7 : [(0, 0, 1, 1)]) Pass(source, pass);
            if (source.ReadByte() >= 0) throw Bad("IDAT", "holds more than the picture");
            // The stream's own check does not say when the checksum after the last row is cut off.
            if (Last4(data) != (sumB << 16 | sumA)) throw Bad("IDAT", "does not end with the checksum of its pixels; the PNG is damaged or truncated");
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            throw new ModelFileException(name, "IDAT", "cannot be decompressed; the PNG is damaged or truncated", e);
        }

        return new Image(width, height, perPixel, pixels);
    }

    private void Pass(ZLibStream source, (int X, int Y, int Dx, int Dy) pass)
    {
        int columns = Count(width, pass.X, pass.Dx);
        if (columns == 0) return;
        int length = (int)RowBytes(columns), step = Math.Max(1, channels * depth / 8);
        byte[] row = new byte[length + 1], above = new byte[length + 1];
        for (int y = pass.Y; y < height; y += pass.Dy)
        {
            source.ReadExactly(row);                       // the end of the stream is an IOException
            Sum(row);
            Unfilter(row[0], row.AsSpan(1), above.AsSpan(1), step);
            Put(row.AsSpan(1), columns, pass, y);
            (row, above) = (above, row);
        }
    }

    // Adler-32 (RFC 1950): sums modulo a prime; 5552 bytes fit 32 bits without reducing.
    private void Sum(ReadOnlySpan<byte> bytes)
    {
        const uint Prime = 65521;
        const int Unreduced = 5552;
        uint a = sumA, b = sumB;
        while (bytes.Length > 0)
        {
            var part = bytes[..Math.Min(Unreduced, bytes.Length)];
            foreach (byte v in part)
            {
                a += v;
                b += a;
            }

            (a, b) = (a % Prime, b % Prime);
            bytes = bytes[part.Length..];
        }

        (sumA, sumB) = (a, b);
    }

    private static uint Last4(List<ReadOnlyMemory<byte>> parts)
    {
        uint number = 0;
        int got = 0;
        for (int p = parts.Count - 1; p >= 0 && got < 4; p--)
            for (int i = parts[p].Length - 1; i >= 0 && got < 4; i--) number |= (uint)parts[p].Span[i] << (8 * got++);
        return number;
    }

    private static int Count(int size, int first, int distance) => (size - first + distance - 1) / distance;

    private long RowBytes(int columns) => ((long)columns * channels * depth + 7) / 8;

    // Section 9.2: each byte was stored as its difference from left, above, their mean, or Paeth's choice of three.
    private void Unfilter(byte filter, Span<byte> row, ReadOnlySpan<byte> above, int step)
    {
        switch (filter)
        {
            case 0:
                break;
            case 1:
                for (int i = step; i < row.Length; i++) row[i] += row[i - step];
                break;
            case 2:
                for (int i = 0; i < row.Length; i++) row[i] += above[i];
                break;
            case 3:
                for (int i = 0; i < row.Length; i++) row[i] += (byte)(((i >= step ? row[i - step] : 0) + above[i]) >> 1);
                break;
            case 4:
                for (int i = 0; i < row.Length; i++)
                {
                    int left = i >= step ? row[i - step] : 0, up = above[i], corner = i >= step ? above[i - step] : 0;
                    int a = Math.Abs(up - corner), b = Math.Abs(left - corner), c = Math.Abs(left + up - 2 * corner);
                    row[i] += (byte)(a <= b && a <= c ? left : b <= c ? up : corner);
                }

                break;
            default:
                throw Bad("IDAT", $"a row has the filter {filter}, which does not exist; the PNG is damaged");
        }
    }

    private void Put(ReadOnlySpan<byte> row, int columns, (int X, int Y, int Dx, int Dy) pass, int y)
    {
        var line = pixels.AsSpan((int)((long)y * width * perPixel), width * perPixel);
        if (depth == 8 && pass.Dx == 1 && perPixel == channels && colour != 3)
        {
            row.CopyTo(line);
            return;
        }

        for (int i = 0; i < columns; i++)
        {
            var to = line.Slice((pass.X + i * pass.Dx) * perPixel, perPixel);
            if (colour == 3)
            {
                int index = Sample(row, i);
                if (3 * index >= palette.Length) throw Bad("IDAT", $"a pixel has colour {index} of a palette of {palette.Length / 3}");
                palette.AsSpan(3 * index, 3).CopyTo(to);
                if (alphas.Length > 0) to[3] = index < alphas.Length ? alphas[index] : byte.MaxValue;
                continue;
            }

            bool same = transparent is not null;
            for (int c = 0; c < channels; c++)
            {
                int v = Sample(row, i * channels + c);
                same &= transparent is not null && v == transparent[c];
                to[c] = depth == 16 ? (byte)(v >> 8) : (byte)(v * byte.MaxValue / ((1 << depth) - 1));
            }

            if (transparent is not null) to[channels] = same ? byte.MinValue : byte.MaxValue;
        }
    }

    private int Sample(ReadOnlySpan<byte> row, int i) => depth switch
    {
        8 => row[i],
        16 => BinaryPrimitives.ReadUInt16BigEndian(row[(2 * i)..]),
        _ => (row[i * depth >> 3] >> (8 - depth - (i * depth & 7))) & ((1 << depth) - 1),
    };

    private ModelFileException Bad(string chunk, string problem) => new(name, chunk, problem);

    /// <summary>The data chunks one after the other, without a copy.</summary>
    private sealed class PartsStream(List<ReadOnlyMemory<byte>> parts) : Stream
    {
        private int part, at;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override int Read(Span<byte> buffer)
        {
            while (part < parts.Count && at == parts[part].Length) (part, at) = (part + 1, 0);
            if (part == parts.Count) return 0;
            int count = Math.Min(buffer.Length, parts[part].Length - at);
            parts[part].Span.Slice(at, count).CopyTo(buffer);
            at += count;
            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
