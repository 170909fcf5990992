using DiffusionCore.Fuzz;
using DiffusionCore.Imaging;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli.Tests.Imaging;

/// <summary>Every kind of PNG against files put together by hand, and every way in which one can be bad.</summary>
public class PngDecoderTests
{
    private const string Name = "picture.png";

    private static readonly byte[] Grey = PngFiles.Header(2, 2, 8, 0, 0);
    private static readonly byte[] Rows = [0, 1, 2, 0, 3, 4];

    private static readonly Dictionary<string, (byte[] File, string Part)> Cases = new()
    {
        ["empty"] = ([], "is empty"),
        ["the signature alone"] = (PngFiles.Signature, "is a PNG without a header"),
        ["7 bytes"] = (PngFiles.Signature[..7], "is not an image"),
        ["wrong magic"] = ([0x89, .. "PMG"u8, 13, 10, 26, 10, .. new byte[40]], "is not an image"),
        ["line ends changed by a transfer as text"] = ([0x89, .. "PNG"u8, 10, 26, 10, .. File(Grey, Rows)[8..]], "is not an image"),
        ["2^31 x 2^31 pixels"] = (File(PngFiles.Header(0x80000000, 0x80000000, 8, 0, 0), Rows), "has 2147483648x2147483648 pixels"),
        ["2^31 pixels in all"] = (File(PngFiles.Header(65536, 32768, 8, 0, 0), Rows), "has 65536x32768 pixels"),
        ["0 pixels"] = (File(PngFiles.Header(0, 1, 8, 0, 0), []), "has 0x1 pixels"),
        ["more pixels than the data can hold"] = (File(PngFiles.Header(16384, 16384, 8, 6, 0), Rows), "too few for 16384x16384 pixels"),
        ["colour type 5"] = (File(PngFiles.Header(2, 2, 8, 5, 0), Rows), "colour type 5 with 8 bits"),
        ["palette of 16 bits"] = (File(PngFiles.Header(2, 2, 16, 3, 0), Rows), "colour type 3 with 16 bits"),
        ["3 bits"] = (File(PngFiles.Header(2, 2, 3, 0, 0), Rows), "colour type 0 with 3 bits"),
        ["interlace 2"] = (File(PngFiles.Header(2, 2, 8, 0, 2), Rows), "interlace 2"),
        ["a header of 12 bytes"] = (Of(("IHDR", Grey[..12]), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "without a header"),
        ["no header"] = (Of(("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "without a header"),
        ["two headers"] = (Of(("IHDR", Grey), ("IHDR", Grey), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "IHDR: is there twice"),
        ["no pixels"] = (Of(("IHDR", Grey), ("IEND", [])), "IDAT: is missing"),
        ["empty pixels"] = (Of(("IHDR", Grey), ("IDAT", []), ("IEND", [])), "IDAT: is missing"),
        ["no end"] = (Of(("IHDR", Grey), ("IDAT", PngFiles.Deflate(Rows))), "its end is missing"),
        ["pixels in two places"] = (Of(("IHDR", Grey), ("IDAT", PngFiles.Deflate(Rows)[..4]), ("tEXt", "a\0b"u8.ToArray()), ("IDAT", PngFiles.Deflate(Rows)[4..]), ("IEND", [])), "IDAT: is not in one piece"),
        ["a row too few"] = (File(Grey, Rows[..3]), "IDAT: cannot be decompressed"),
        ["half a row too few"] = (File(Grey, Rows[..5]), "IDAT: cannot be decompressed"),
        ["a byte too many"] = (File(Grey, [.. Rows, 0]), "IDAT: holds more than the picture"),
        ["filter 5"] = (File(Grey, [5, 1, 2, 0, 3, 4]), "the filter 5"),
        ["compressed data cut"] = (Of(("IHDR", Grey), ("IDAT", PngFiles.Deflate(Rows)[..^5]), ("IEND", [])), "IDAT: does not end with the checksum"),
        ["checksum of the pixels missing"] = (Of(("IHDR", Grey), ("IDAT", PngFiles.Deflate(Rows)[..^4]), ("IEND", [])), "IDAT: does not end with the checksum"),
        ["checksum of the pixels wrong"] = (Of(("IHDR", Grey), ("IDAT", [.. PngFiles.Deflate(Rows)[..^1], 0xFF]), ("IEND", [])), "IDAT: cannot be decompressed"),
        ["not zlib"] = (Of(("IHDR", Grey), ("IDAT", new byte[20]), ("IEND", [])), "IDAT: cannot be decompressed"),
        ["palette missing"] = (File(PngFiles.Header(2, 2, 8, 3, 0), Rows), "PLTE: is missing"),
        ["palette of 4 bytes"] = (Palette(4), "PLTE: has 4 bytes"),
        ["palette of 257 colours"] = (Palette(771), "PLTE: has 771 bytes"),
        ["palette longer than the depth"] = (Of(("IHDR", PngFiles.Header(2, 2, 1, 3, 0)), ("PLTE", new byte[9]), ("IDAT", PngFiles.Deflate([0, 0, 0, 0])), ("IEND", [])), "PLTE: has 9 bytes, not 3 for each of 1 to 2 colours"),
        ["palette after the pixels"] = (Of(("IHDR", PngFiles.Header(2, 2, 8, 3, 0)), ("IDAT", PngFiles.Deflate(Rows)), ("PLTE", new byte[30]), ("IEND", [])), "PLTE: is there twice, or after the pixels"),
        ["colour outside the palette"] = (Palette(12), "a pixel has colour 4 of a palette of 4"),
        ["transparency of 3 bytes"] = (Of(("IHDR", Grey), ("tRNS", new byte[3]), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "tRNS: has 3 bytes, expected 2"),
        ["transparency longer than the palette"] = (Of(("IHDR", PngFiles.Header(2, 2, 8, 3, 0)), ("PLTE", new byte[30]), ("tRNS", new byte[11]), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "tRNS: has 11 bytes for a palette of 10"),
        ["an unknown part that matters"] = (Of(("IHDR", Grey), ("CgBI", new byte[4]), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "CgBI: is a part that this version does not know"),
        ["a name that is none"] = (Of(("IHDR", Grey), ("\0\n\u001b!", []), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", [])), "a chunk's name is not four letters"),
        ["bad checksum of a chunk"] = ([.. File(Grey, Rows)[..^1], 0], "IEND: has a wrong checksum"),
        ["a length of 2^31"] = ([.. PngFiles.Signature, 0x80, 0, 0, 0, .. "IHDR"u8, .. new byte[30]], "a chunk ends after the file"),
        ["a length past the end"] = ([.. PngFiles.Signature, 0, 0, 0, 14, .. PngFiles.Chunk("IHDR", Grey)[4..]], "a chunk ends after the file"),
    };

    public static TheoryData<string> Names() => [.. Cases.Keys];

    public static TheoryData<int, int, bool, bool> Kinds()
    {
        var rows = new TheoryData<int, int, bool, bool>();
        foreach (var (colour, depth) in PngFiles.Kinds)
            foreach (bool interlaced in new[] { false, true })
                foreach (bool transparent in new[] { false, true })
                    if (!transparent || colour is 0 or 2 or 3) rows.Add(colour, depth, interlaced, transparent);
        return rows;
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_bad_file_gives_one_line_that_names_it(string name)
    {
        var (file, part) = Cases[name];
        var e = Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name));
        Assert.StartsWith(Name + ": ", e.Message);
        Assert.Contains(part, e.Message);
        Assert.DoesNotContain(e.Message, char.IsControl);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
    }

    /// <summary>Sizes from 1x1 on leave some of the seven passes without a pixel.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_picture_of_every_kind_comes_out_as_it_was_put_in(int colour, int depth, bool interlaced, bool transparent)
    {
        var draw = new Draw(7, colour * 100 + depth);
        foreach (var (width, height) in new[] { (1, 1), (2, 3), (5, 1), (1, 7), (8, 8), (13, 11), (37, 9) })
        {
            int channels = PngFiles.Channels(colour), colours = colour == 3 ? Math.Max(2, (1 << depth) - 1) : 0;
            var samples = new int[width * height * channels];
            for (int i = 0; i < samples.Length; i++) samples[i] = draw.Below(colour == 3 ? colours : 1 << depth);
            byte[] palette = draw.Bytes(3 * colours), alphas = draw.Bytes(Math.Max(1, colours - 1));
            var chunks = new List<(string, byte[])> { ("IHDR", PngFiles.Header((uint)width, (uint)height, depth, colour, interlaced ? 1 : 0)) };
            if (colour == 3) chunks.Add(("PLTE", palette));
            if (transparent) chunks.Add(("tRNS", colour == 3 ? alphas : [.. samples[..channels].SelectMany(v => new[] { (byte)(v >> 8), (byte)v })]));
            byte[] data = PngFiles.Deflate(PngFiles.Rows(samples, width, height, colour, depth, interlaced, () => draw.Below(5)));
            int cut = draw.Below(data.Length);
            chunks.AddRange([("gAMA", [0, 0, 1, 0]), ("IDAT", data[..cut]), ("IDAT", []), ("IDAT", data[cut..]), ("IEND", [])]);

            var image = new StbCodec().Decode(Of([.. chunks]), Name);
            byte[] expected = [.. Enumerable.Range(0, width * height).SelectMany(p => Expected(samples.AsSpan(p * channels, channels).ToArray()))];
            Assert.Equal((width, height, expected.Length / (width * height)), (image.Width, image.Height, image.Channels));
            Assert.Equal(expected, image.Pixels);

            byte[] Expected(int[] v)
            {
                if (colour == 3) return transparent ? [.. palette[(3 * v[0])..(3 * v[0] + 3)], v[0] < alphas.Length ? alphas[v[0]] : (byte)255] : palette[(3 * v[0])..(3 * v[0] + 3)];
                byte[] eight = [.. v.Select(s => depth == 16 ? (byte)(s / 256) : (byte)Math.Round(s * 255.0 / ((1 << depth) - 1)))];
                return transparent ? [.. eight, v.SequenceEqual(samples[..channels]) ? (byte)0 : (byte)255] : eight;
            }
        }
    }

    private static byte[] File(byte[] header, byte[] rows) => Of(("IHDR", header), ("IDAT", PngFiles.Deflate(rows)), ("IEND", []));

    private static byte[] Palette(int bytes) => Of(("IHDR", PngFiles.Header(2, 2, 8, 3, 0)), ("PLTE", new byte[bytes]), ("IDAT", PngFiles.Deflate(Rows)), ("IEND", []));

    private static byte[] Of(params (string Type, byte[] Data)[] chunks) => [.. PngFiles.Signature, .. chunks.SelectMany(c => PngFiles.Chunk(c.Type, c.Data))];
}
