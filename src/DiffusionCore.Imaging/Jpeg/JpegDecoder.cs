using System.Buffers.Binary;
using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging.Jpeg;

/// <summary>
/// JPEG pixels (ITU-T T.81): 8 bits, Huffman codes, sequential and progressive; grey, YCbCr, RGB, CMYK and YCCK. Strict: a file is whole and sound, or
/// it is refused. Bounds are checked by the language; nothing here is unsafe.
/// </summary>
internal sealed class JpegDecoder
{
    // A picture needs a few; each may walk over all of it, so their number bounds the time.
    private const int MaximumScans = 256;

    private readonly byte[] file;
    private readonly string name;
    private readonly ushort[]?[] quantization = new ushort[4][];
    private readonly HuffmanTable?[] dc = new HuffmanTable[4], ac = new HuffmanTable[4];
    private Component[] components = [];
    private int width, height, restartInterval, adobe = -1;
    private bool progressive, jfif;

    private JpegDecoder(byte[] file, string name)
    {
        this.file = file;
        this.name = name;
    }

    public static bool IsJpeg(ReadOnlySpan<byte> file) => file.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8, 0xFF]);

    /// <exception cref="ModelFileException">Damaged, truncated, too large, or of a kind that is not read.</exception>
    public static Image Decode(byte[] file, string name) => new JpegDecoder(file, name).Decode();

    private Image Decode()
    {
        int at = 2, scans = 0;
        while (true)
        {
            if (file.Length - at < 2) throw Truncated("its end is missing");
            if (file[at] != 0xFF) throw new ModelFileException(name, null, $"is a damaged JPEG: expected a marker at byte {at}");
            byte marker = file[at + 1];
            at += marker == 0xFF ? 1 : 2;
            if (marker == 0xFF) continue;                                      // any number of fill bytes may stand before a marker
            if (marker == 0xD9) break;
            if (marker < 0xC0 || marker is >= 0xD0 and <= 0xD8) throw new ModelFileException(name, null, $"is a damaged JPEG: marker {marker:X2} at byte {at - 2}");
            if (file.Length - at < 2) throw Truncated("its end is missing");
            int length = BinaryPrimitives.ReadUInt16BigEndian(file.AsSpan(at));
            if (length < 2) throw new ModelFileException(name, null, $"is a damaged JPEG: marker {marker:X2} at byte {at - 2} has a length of {length}");
            if (length > file.Length - at) throw Truncated("a segment ends after the file");
            var body = file.AsSpan(at + 2, length - 2);
            at += length;
            switch (marker)
            {
                case 0xC0 or 0xC1 or 0xC2:
                    Frame(body, marker == 0xC2);
                    break;
                case 0xC4:
                    Huffman(body);
                    break;
                case > 0xC2 and <= 0xCF:
                    throw new ModelFileException(name, null, $"is a JPEG of a kind that is not read (marker {marker:X2}: lossless, hierarchical or arithmetic); save it as baseline or progressive");
                case 0xDA:
                    if (++scans > MaximumScans) throw Bad("SOS", $"is there more than {MaximumScans} times");
                    at = ReadScan(body, at);
                    break;
                case 0xDB:
                    Quantization(body);
                    break;
                case 0xDC or 0xDE or 0xDF:
                    throw new ModelFileException(name, null, $"is a JPEG of a kind that is not read (marker {marker:X2})");
                case 0xDD:
                    if (body.Length != 2) throw Bad("DRI", $"has {body.Length} bytes, expected 2");
                    restartInterval = BinaryPrimitives.ReadUInt16BigEndian(body);
                    break;
                case 0xE0:
                    jfif |= body.StartsWith("JFIF\0"u8);
                    break;
                case 0xEE when body.Length >= 12 && body.StartsWith("Adobe"u8):
                    adobe = body[11];
                    break;
            }
        }

        if (components.Length == 0) throw new ModelFileException(name, null, "is a damaged JPEG: it has no frame");
        foreach (var c in components)
            if (c.Precision[0] < 0) throw Truncated($"component {c.Id} has no scan");
        return Pixels();
    }

    private void Frame(ReadOnlySpan<byte> body, bool isProgressive)
    {
        if (components.Length > 0) throw Bad("SOF", "is there twice");
        if (body.Length < 6 || body.Length != 6 + 3 * body[5]) throw Bad("SOF", $"has {body.Length} bytes");
        if (body[0] != 8) throw Bad("SOF", $"has samples of {body[0]} bits; expected 8");
        (height, width) = (BinaryPrimitives.ReadUInt16BigEndian(body[1..]), BinaryPrimitives.ReadUInt16BigEndian(body[3..]));
        if (width == 0 || height == 0 || width > ImageLimits.MaximumSide || height > ImageLimits.MaximumSide || (long)width * height > ImageLimits.MaximumPixels)
            throw new ModelFileException(name, null, $"has {width}x{height} pixels; expected 1 to {ImageLimits.MaximumSide} on a side and at most {ImageLimits.MaximumPixels} in all");
        int count = body[5];
        if (count is not (1 or 3 or 4)) throw Bad("SOF", $"has {count} components; expected 1, 3 or 4");
        progressive = isProgressive;
        var found = new Component[count];
        int across = 1, down = 1;
        for (int i = 0; i < count; i++)
        {
            var (id, h, v, q) = (body[6 + 3 * i], body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15, body[8 + 3 * i]);
            if (h is 0 or > 4 || v is 0 or > 4 || q > 3) throw Bad("SOF", $"component {id} has {h}x{v} samples and table {q}");
            if (found.Take(i).Any(c => c.Id == id)) throw Bad("SOF", $"has component {id} twice");
            found[i] = new Component(id, count == 1 ? 1 : h, count == 1 ? 1 : v, q);
            (across, down) = (Math.Max(across, found[i].H), Math.Max(down, found[i].V));
        }

        long blocks = 0;
        foreach (var c in found)
        {
            if (across % c.H != 0 || down % c.V != 0) throw Bad("SOF", $"component {c.Id} has {c.H}x{c.V} of {across}x{down} samples; only whole ratios are read");
            (c.Width, c.Height) = ((width * c.H + across - 1) / across, (height * c.V + down - 1) / down);
            (c.Stride, c.Rows) = ((width + 8 * across - 1) / (8 * across) * c.H, (height + 8 * down - 1) / (8 * down) * c.V);
            blocks += (long)c.BlocksAcross * c.BlocksDown;
        }

        // A block takes a bit at least: a header that promises more is refused before its memory is asked for.
        if (blocks > 8L * file.Length) throw Bad("SOF", $"promises {width}x{height} pixels, more than {file.Length} bytes can hold; the file is truncated or damaged");
        foreach (var c in found) c.Coefficients = new short[(long)c.Stride * c.Rows * 64];
        components = found;
    }

    private void Quantization(ReadOnlySpan<byte> body)
    {
        while (body.Length > 0)
        {
            int wide = body[0] >> 4, slot = body[0] & 15, bytes = wide == 0 ? 64 : 128;
            if (wide > 1 || slot > 3 || body.Length < 1 + bytes) throw Bad("DQT", $"has table {slot} of kind {wide} in {body.Length} bytes");
            var table = new ushort[64];
            for (int k = 0; k < 64; k++) table[Scan.ZigZag[k]] = wide == 0 ? body[1 + k] : BinaryPrimitives.ReadUInt16BigEndian(body[(1 + 2 * k)..]);
            quantization[slot] = table;
            body = body[(1 + bytes)..];
        }
    }

    private void Huffman(ReadOnlySpan<byte> body)
    {
        while (body.Length > 0)
        {
            int kind = body[0] >> 4, slot = body[0] & 15;
            if (kind > 1 || slot > 3 || body.Length < 17) throw Bad("DHT", $"has table {slot} of kind {kind} in {body.Length} bytes");
            int symbols = 0;
            foreach (byte count in body.Slice(1, 16)) symbols += count;
            if (symbols > 256 || body.Length < 17 + symbols) throw Bad("DHT", $"has {symbols} codes in {body.Length} bytes");
            (kind == 0 ? dc : ac)[slot] = new HuffmanTable(body.Slice(1, 16), body.Slice(17, symbols), name);
            body = body[(17 + symbols)..];
        }
    }

    private int ReadScan(ReadOnlySpan<byte> body, int at)
    {
        if (components.Length == 0) throw Bad("SOS", "comes before the frame");
        int count = body.Length > 0 ? body[0] : 0;
        if (count is 0 or > 4 || body.Length != 4 + 2 * count) throw Bad("SOS", $"has {body.Length} bytes");
        int from = body[1 + 2 * count], to = body[2 + 2 * count], high = body[3 + 2 * count] >> 4, low = body[3 + 2 * count] & 15;
        bool sound = progressive ? from <= to && to < 64 && low < 14 && (high == 0 || high == low + 1) && (from == 0 ? to == 0 : count == 1) : from == 0 && to == 63 && high == 0 && low == 0;
        if (!sound) throw Bad("SOS", $"has frequencies {from} to {to}, bits {high} to {low}, of {count} components");
        var chosen = new Component[count];
        HuffmanTable?[] dcs = new HuffmanTable[count], acs = new HuffmanTable[count];
        int blocks = 0;
        for (int i = 0; i < count; i++)
        {
            var (id, dcSlot, acSlot) = (body[1 + 2 * i], body[2 + 2 * i] >> 4, body[2 + 2 * i] & 15);
            chosen[i] = components.FirstOrDefault(c => c.Id == id) ?? throw Bad("SOS", $"names component {id}, which the frame does not have");
            if (chosen.Take(i).Contains(chosen[i])) throw Bad("SOS", $"names component {id} twice");
            (dcs[i], acs[i]) = (dcSlot < 4 ? dc[dcSlot] : null, acSlot < 4 ? ac[acSlot] : null);
            if ((from == 0 && high == 0 && dcs[i] is null) || (to > 0 && acs[i] is null)) throw Bad("SOS", $"needs a code table that is missing ({dcSlot}, {acSlot})");
            if (quantization[chosen[i].Quantization] is null) throw Bad("DQT", $"table {chosen[i].Quantization} is missing");
            blocks += chosen[i].H * chosen[i].V;
            for (int k = from; k <= to; k++)
            {
                // Each bit of each frequency comes once, from the highest down; the mean of a block first of all.
                if (chosen[i].Precision[k] != (high == 0 ? -1 : high) || (k > 0 && from > 0 && chosen[i].Precision[0] < 0)) throw Bad("SOS", $"repeats or skips bits of frequency {k}");
                chosen[i].Precision[k] = (sbyte)low;
            }
        }

        if (count > 1 && blocks > 10) throw Bad("SOS", $"has {blocks} blocks in a unit; expected at most 10");
        return new Scan(file, at, name)
        {
            Components = chosen, Dc = dcs, Ac = acs, Progressive = progressive, From = from, To = to, High = high, Low = low, RestartInterval = restartInterval,
        }.Decode();
    }

    private Image Pixels()
    {
        int count = components.Length, result = count == 1 ? 1 : 3;
        int across = components.Max(c => c.H), down = components.Max(c => c.V);
        byte[][] samples = [.. components.Select(c => JpegPixels.Transform(c, quantization[c.Quantization]!))];
        foreach (var c in components) c.Coefficients = [];
        // The Adobe marker says it; without one, only these names say that nothing was transformed.
        bool transformed = count switch
        {
            1 => false,
            3 => adobe >= 0 ? adobe != 0 : jfif || !components.Select(c => c.Id).SequenceEqual([(int)'R', 'G', 'B']),
            _ => adobe == 2,
        };
        var pixels = new byte[(long)width * height * result];
        byte[][] rows = [.. components.Select(_ => new byte[width])];
        for (int y = 0; y < height; y++)
        {
            for (int i = 0; i < count; i++) JpegPixels.Row(components[i], samples[i], y, across / components[i].H, down / components[i].V, rows[i]);
            if (transformed) JpegPixels.ToRgb(rows[0], rows[1], rows[2]);
            var line = pixels.AsSpan(y * width * result, width * result);
            for (int x = 0; x < width; x++)
            {
                for (int i = 0; i < result; i++) line[x * result + i] = count == 4 ? Ink(rows[i][x], rows[3][x]) : rows[i][x];
            }
        }

        return new Image(width, height, result, pixels);
    }

    // What an ink and black leave of white. Adobe's files hold what is left, not the ink; the colours of YCCK are ink once more.
    private byte Ink(byte ink, byte black)
    {
        int left = adobe is 0 or 1 ? ink : 255 - ink, light = adobe >= 0 ? black : 255 - black;
        return (byte)((left * light + 127) / 255);
    }

    private ModelFileException Truncated(string how) => new(name, null, $"is a truncated JPEG: {how}");

    private ModelFileException Bad(string segment, string problem) => new(name, segment, $"{problem}; the JPEG is damaged");
}
