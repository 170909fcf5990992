using System.Buffers.Binary;
using DiffusionCore.Imaging;

namespace DiffusionCore.Fuzz;

/// <summary>An image file through the product's codec.</summary>
public abstract class ImageTarget : FuzzTarget
{
    public override object Parse(byte[] input) => new StbCodec().Decode(input, "x");

    public override void RoundTrip(byte[] input, object parsed)
    {
        var image = (Image)parsed;
        using var written = new MemoryStream();
        new StbCodec().EncodePng(image, written, []);
        var again = new StbCodec().Decode(written.ToArray(), "x");
        if ((again.Width, again.Height, again.Channels) != (image.Width, image.Height, image.Channels) || !again.Pixels.AsSpan().SequenceEqual(image.Pixels)) throw new RoundTripException("other pixels");
    }
}

/// <summary>PNG files: chunks, header fields and pixel data changed with their checksums made right again.</summary>
public sealed class PngTarget : ImageTarget
{
    private static readonly string[] Types = ["IHDR", "PLTE", "IDAT", "IEND", "tRNS", "gAMA", "tEXt", "iTXt", "zTXt", "ABCD", "abcd", "CgBI", "\0\0\0\0"];

    public override string Name => "png";

    public override object Parse(byte[] input)
    {
        object image = base.Parse(input);
        PngFile.ReadTexts(input, "x");
        return image;
    }

    /// <summary>The picture itself too, and two rows as the file stores them, where the compressed data may hold them: deflate makes at most 1032 bytes of one.</summary>
    public override long AllocationLimit(byte[] input)
    {
        if (input.Length < 33) return base.AllocationLimit(input);
        ulong width = BinaryPrimitives.ReadUInt32BigEndian(input.AsSpan(16)), height = BinaryPrimitives.ReadUInt32BigEndian(input.AsSpan(20));
        // Of a row of single bits, the decoder makes eight bytes of a byte, and four channels of a palette's colour.
        return base.AllocationLimit(input) + (long)Math.Min(4 * width * height + 2 * 8 * width, 8 * 4 * 1032ul * (ulong)input.Length);
    }

    public override byte[] Make(Draw draw)
    {
        var (colour, depth) = draw.Of(PngFiles.Kinds);
        int width = draw.Between(1, 12), height = draw.Between(1, 12), interlace = draw.OneIn(3) ? 1 : 0;
        var samples = new int[width * height * PngFiles.Channels(colour)];
        for (int i = 0; i < samples.Length; i++) samples[i] = draw.Below(1 << depth);
        byte[] raw = PngFiles.Rows(samples, width, height, colour, depth, interlace == 1, () => draw.Below(5));
        if (draw.OneIn(6)) raw = ByteMutator.Damage(raw, draw);
        byte[] data = PngFiles.Deflate(raw), header = PngFiles.Header((uint)width, (uint)height, depth, colour, interlace);
        if (draw.OneIn(8)) data = ByteMutator.Damage(data, draw);
        if (draw.OneIn(8)) header[draw.Below(13)] = (byte)draw.Bits();
        if (draw.OneIn(16)) BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(4 * draw.Below(2)), (uint)ByteMutator.Number(draw));
        if (draw.OneIn(32)) header = ByteMutator.Damage(header, draw);
        var chunks = new List<(string Type, byte[] Data)> { ("IHDR", header) };
        if (colour == 3) chunks.Add(("PLTE", draw.Bytes(3 * (draw.OneIn(4) ? draw.Below(300) : 1 << depth))));
        if (draw.OneIn(3)) chunks.Add(("tRNS", draw.Bytes(colour switch { 0 => 2, 2 => 6, _ => draw.Below(9) })));
        if (draw.OneIn(4)) chunks.Add(("tEXt", [.. "key"u8, 0, .. draw.Bytes(draw.Below(20))]));
        int cut = draw.OneIn(3) ? draw.Below(data.Length) : data.Length;
        chunks.Add(("IDAT", data[..cut]));
        if (cut < data.Length) chunks.Add(("IDAT", data[cut..]));
        chunks.Add(("IEND", []));
        if (draw.OneIn(4)) Rearrange(chunks, draw);
        using var file = new MemoryStream();
        file.Write(PngFiles.Signature);
        foreach (var (type, body) in chunks) file.Write(PngFiles.Chunk(type, body));
        return draw.OneIn(6) ? ByteMutator.Damage(file.ToArray(), draw) : file.ToArray();
    }

    private static void Rearrange(List<(string Type, byte[] Data)> chunks, Draw draw)
    {
        int at = draw.Below(chunks.Count), other = draw.Below(chunks.Count);
        switch (draw.Below(5))
        {
            case 0:
                chunks.RemoveAt(at);
                break;
            case 1:
                chunks.Insert(other, chunks[at]);
                break;
            case 2:
                (chunks[at], chunks[other]) = (chunks[other], chunks[at]);
                break;
            case 3:
                chunks[at] = (draw.Of(Types), chunks[at].Data);
                break;
            default:
                chunks.Insert(at, (draw.Of(Types), draw.Bytes(draw.Below(40))));
                break;
        }
    }
}

/// <summary>JPEG files: segments and entropy-coded data changed, lengths made right again or not.</summary>
public sealed class JpegTarget : ImageTarget
{
    private readonly byte[][] seeds = [.. SeedFiles.Names(".jpg").Select(SeedFiles.Read)];

    public override string Name => "jpeg";

    /// <summary>The picture and its coefficients too, where the coded data may hold them: a block of 64 samples takes a bit at least; up to four blocks pad one.</summary>
    public override long AllocationLimit(byte[] input) => base.AllocationLimit(input) + 8L * input.Length * 64 * 4 * 4;

    public override byte[] Make(Draw draw)
    {
        byte[] file = draw.Of(seeds);
        int places = draw.Between(0, 3);
        for (int i = 0; i < places; i++) file = Once(file, draw);
        return draw.OneIn(3) ? ByteMutator.Damage(file, draw) : file;
    }

    private byte[] Once(byte[] file, Draw draw)
    {
        var segments = Segments(file);
        if (segments.Count == 0) return file;
        var (start, end) = draw.Of(segments);
        switch (draw.Below(7))
        {
            case 0:
                return [.. file[..start], .. file[end..]];
            case 1:
                return [.. file[..end], .. file[start..end], .. file[end..]];
            case 2:
                {
                    byte[] donor = draw.Of(seeds);
                    var taken = draw.Of(Segments(donor));
                    return [.. file[..start], .. donor[taken.Start..taken.End], .. file[end..]];
                }

            case 3 when end - start > 4:
                {
                    byte[] body = ByteMutator.Damage(file[(start + 4)..end], draw);
                    var length = new byte[2];
                    BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)(body.Length + 2));
                    return [.. file[..(start + 2)], .. length, .. body, .. file[end..]];
                }

            case 4 when end - start > 4:
                {
                    byte[] result = [.. file];
                    result[draw.Between(start + 4, end - 1)] = (byte)draw.Bits();
                    return result;
                }

            case 5:
                {
                    byte[] result = [.. file];
                    result[start + 1] = (byte)draw.Of([0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xCC, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xE0, 0xEE, 0xFE, 0xFF, 0x00]);
                    return result;
                }

            default:
                {
                    // Inside the coded data, without making markers.
                    byte[] result = [.. file];
                    int at = draw.Between(file.Length / 2, file.Length - 1);
                    result[at] = (byte)draw.Below(255);
                    return result;
                }
        }
    }

    // Marker segments with a length, up to the end of the header of each scan.
    private static List<(int Start, int End)> Segments(byte[] file)
    {
        var segments = new List<(int, int)>();
        for (int i = 2; i + 4 <= file.Length;)
        {
            if (file[i] != 0xFF || file[i + 1] is 0 or 0xFF or (>= 0xD0 and <= 0xD9))
            {
                i++;
                continue;
            }

            int end = Math.Min(file.Length, i + 2 + BinaryPrimitives.ReadUInt16BigEndian(file.AsSpan(i + 2)));
            segments.Add((i, end));
            i = Math.Max(end, i + 4);
        }

        return segments;
    }
}

/// <summary>Files that other programs wrote, kept in this assembly.</summary>
public static class SeedFiles
{
    public static IEnumerable<string> Names(string extension) => typeof(SeedFiles).Assembly.GetManifestResourceNames().Where(n => n.EndsWith(extension, StringComparison.Ordinal)).Order(StringComparer.Ordinal);

    public static byte[] Read(string name)
    {
        using var stream = typeof(SeedFiles).Assembly.GetManifestResourceStream(name) ?? throw new FileNotFoundException(name);
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }
}

/// <summary>Windows bitmaps: headers, palettes and rows changed.</summary>
public sealed class BitmapTarget : ImageTarget
{
    public override string Name => "bmp";

    public override byte[] Make(Draw draw)
    {
        int width = draw.Between(1, 9), height = draw.Between(1, 9), bits = draw.Of([8, 24, 32]), colours = bits == 8 ? draw.Between(1, 256) : 0;
        int start = 54 + 4 * colours, stride = (width * bits / 8 + 3) / 4 * 4;
        var file = new byte[start + stride * height];
        "BM"u8.CopyTo(file);
        void Put(int at, int value) => BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(at), value);
        Put(2, file.Length);
        Put(10, start);
        Put(14, 40);
        Put(18, width);
        Put(22, draw.OneIn(2) ? height : -height);
        Put(26, 1 | bits << 16);
        Put(46, colours == 256 ? 0 : colours);
        for (int i = 54; i < file.Length; i++) file[i] = (byte)(i < start ? draw.Bits() : (ulong)draw.Below(colours == 0 ? 256 : colours));
        if (draw.OneIn(3)) Put(draw.Of([2, 10, 14, 18, 22, 26, 28, 30, 46]), (int)ByteMutator.Number(draw));
        return draw.OneIn(3) ? ByteMutator.Damage(file, draw) : file;
    }
}
