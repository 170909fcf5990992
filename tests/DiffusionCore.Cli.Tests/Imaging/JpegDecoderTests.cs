using System.Buffers.Binary;
using System.Text;
using DiffusionCore.Fuzz;
using DiffusionCore.Imaging;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli.Tests.Imaging;

/// <summary>JPEG against pictures that libjpeg-turbo 2.1.5 decoded (djpeg -dct float), against files put together by hand, and every way in which one can be bad.</summary>
public class JpegDecoderTests
{
    private const string Name = "picture.jpg";

    // Two ways to round a transform differ by 1, and colours add as much again.
    private const int Tolerance = 2;

    private static readonly byte[] Whole = SeedFiles.Read("b444.jpg");

    private static readonly Dictionary<string, (byte[] File, string Part)> Cases = new()
    {
        ["the first marker alone"] = ([0xFF, 0xD8, 0xFF], "is a truncated JPEG"),
        ["2 bytes"] = ([0xFF, 0xD8], "is not an image"),
        ["wrong magic"] = ([0xFF, 0xD9, .. Whole[2..]], "is not an image"),
        ["65535 x 65535 pixels"] = (Of(Frame(65535, 65535, 1)), "has 65535x65535 pixels"),
        ["more pixels than the data can hold"] = (Of(Frame(16384, 16384, 1)), "promises 16384x16384 pixels, more than"),
        ["no width"] = (Of(Frame(0, 8, 1)), "has 0x8 pixels"),
        ["no height"] = (Of(Frame(8, 0, 1)), "has 8x0 pixels"),
        ["no frame"] = ([0xFF, 0xD8, 0xFF, 0xD9], "it has no frame"),
        ["two frames"] = (Of([.. Frame(8, 8, 1), .. Frame(8, 8, 1)]), "SOF: is there twice"),
        ["no scan"] = (Of(Frame(8, 8, 1)), "component 1 has no scan"),
        ["a scan of some components only"] = (Of([.. Tables(), .. Frame(8, 8, 3), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10)]), "component 2 has no scan"),
        ["a scan before the frame"] = (Of([.. Tables(), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10)]), "SOS: comes before the frame"),
        ["a scan twice"] = (Of([.. Tables(), .. Frame(8, 8, 1), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10)]), "SOS: repeats or skips bits"),
        ["a component that there is not"] = (Of([.. Tables(), .. Frame(8, 8, 1), .. Segment(0xDA, [1, 9, 0, 0, 63, 0]), .. Coded(10)]), "names component 9"),
        ["no code tables"] = (Of([.. Quantization(), .. Frame(8, 8, 1), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10)]), "needs a code table that is missing"),
        ["no quantization"] = (Of([.. Huffman(), .. Frame(8, 8, 1), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10)]), "DQT: table 0 is missing"),
        ["half a quantization"] = (Of(Segment(0xDB, [0, 1, 2])), "DQT: has table 0"),
        ["a code that is not prefix-free"] = (Of(Segment(0xC4, [0, 3, .. new byte[15], 1, 2, 3])), "more codes of 1 bits than there are"),
        ["more symbols than bytes"] = (Of(Segment(0xC4, [0, .. Enumerable.Repeat((byte)255, 16)])), "DHT: has 4080 codes"),
        ["12 bits"] = (Of(Segment(0xC1, [12, 0, 8, 0, 8, 1, 1, 0x11, 0])), "samples of 12 bits"),
        ["2 components"] = (Of(Frame(8, 8, 2)), "has 2 components"),
        ["5x1 samples"] = (Of(Segment(0xC0, [8, 0, 8, 0, 8, 1, 1, 0x51, 0])), "has 5x1 samples"),
        ["a ratio of 3 to 2"] = (Of(Segment(0xC0, [8, 0, 8, 0, 8, 3, 1, 0x31, 0, 2, 0x21, 0, 3, 0x11, 0])), "only whole ratios"),
        ["lossless"] = (Of(Segment(0xC3, [8, 0, 8, 0, 8, 1, 1, 0x11, 0])), "is a JPEG of a kind that is not read"),
        ["arithmetic"] = (SeedFiles.Read("barith.jpg"), "is a JPEG of a kind that is not read"),
        ["a scan that ends early"] = (Of([.. Tables(), .. Frame(64, 64, 1), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10)]), "a scan ends before its picture"),
        ["a scan that goes on"] = (Of([.. Tables(), .. Frame(8, 8, 1), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10), 0, 0, 0]), "is damaged|expected a marker at|bytes after its last block"),
        ["no restart marker"] = (Of([.. Tables(), .. Segment(0xDD, [0, 1]), .. Frame(16, 8, 1), .. Segment(0xDA, [1, 1, 0, 0, 63, 0]), .. Coded(10, 10)]), "no restart marker where one is due|bytes after its last block"),
        ["a restart interval of 3 bytes"] = (Of(Segment(0xDD, [0, 1, 0])), "DRI: has 3 bytes"),
        ["a segment past the end"] = ([0xFF, 0xD8, 0xFF, 0xE0, 0xFF, 0xFF, 1, 2, 3], "a segment ends after the file"),
        ["a segment of length 1"] = ([0xFF, 0xD8, 0xFF, 0xE0, 0, 1, 0xFF, 0xD9], "has a length of 1"),
        ["no end"] = (Whole[..^2], "its end is missing|a truncated JPEG"),
    };

    public static TheoryData<string> Names() => [.. Cases.Keys];

    public static TheoryData<string> References() => [.. SeedFiles.Names(".pnm").Select(n => Path.ChangeExtension(n, ".jpg"))];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_bad_file_gives_one_line_that_names_it(string name)
    {
        var (file, part) = Cases[name];
        var e = Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name));
        Assert.StartsWith(Name + ": ", e.Message);
        Assert.Contains(part.Split('|'), p => e.Message.Contains(p, StringComparison.Ordinal));
        Assert.DoesNotContain(e.Message, char.IsControl);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
    }

    [Theory]
    [MemberData(nameof(References))]
    public void A_picture_comes_out_as_from_libjpeg(string name)
    {
        var image = new StbCodec().Decode(SeedFiles.Read(name), name);
        byte[] reference = SeedFiles.Read(Path.ChangeExtension(name, ".pnm"));
        byte[] expected = reference[^image.Pixels.Length..];
        Assert.Equal($"{(image.Channels == 1 ? "P5" : "P6")}\n{image.Width} {image.Height}\n255\n", Encoding.ASCII.GetString(reference[..^image.Pixels.Length]));
        int worst = 0;
        for (int i = 0; i < expected.Length; i++) worst = Math.Max(worst, Math.Abs(expected[i] - image.Pixels[i]));
        Assert.True(worst <= Tolerance, $"differs by {worst}");
    }

    /// <summary>What is left of white by four inks, without a marker; Adobe's files hold what is left; YCCK is ink as YCbCr.</summary>
    [Theory]
    [InlineData(-1, 200, 100, 0, 55, 43, 122, 200)]
    [InlineData(0, 200, 100, 0, 55, 43, 22, 0)]
    [InlineData(2, 100, 128, 128, 51, 31, 31, 31)]
    public void Four_inks_become_red_green_and_blue(int adobe, int c, int m, int y, int k, int red, int green, int blue)
    {
        byte[] marker = adobe < 0 ? [] : Segment(0xEE, [.. "Adobe"u8, 0, 100, 0, 0, 0, 0, (byte)adobe]);
        var image = new StbCodec().Decode(Of([.. marker, .. Tables(), .. Frame(8, 8, 4), .. Segment(0xDA, [4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]), .. Coded(c, m, y, k)]), Name);
        Assert.Equal((8, 8, 3), (image.Width, image.Height, image.Channels));
        for (int i = 0; i < image.Pixels.Length; i++) Assert.Equal(new[] { red, green, blue }[i % 3], image.Pixels[i]);
    }

    [Theory]
    [InlineData(0, 0, 63, 0x01)]
    [InlineData(1, 1, 0, 0x00)]
    [InlineData(0, 1, 5, 0x00)]
    public void A_scan_with_frequencies_that_cannot_be_is_refused(int progressive, int from, int to, int bits)
    {
        byte[] file = Of([.. Tables(), .. Frame(8, 8, 1, (byte)(progressive == 1 ? 0xC2 : 0xC0)), .. Segment(0xDA, [1, 1, 0, (byte)from, (byte)to, (byte)bits]), .. Coded(10)]);
        Assert.Contains("SOS: has frequencies", Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name)).Message);
    }

    [Fact]
    public void The_number_of_scans_is_bounded()
    {
        // Each walks over the whole picture: without a bound, a small file could keep the program busy for hours.
        byte[] scan = [.. Segment(0xDA, [1, 1, 0, 0, 0, 0]), .. Coded(10)];
        byte[] file = Of([.. Tables(), .. Frame(8, 8, 1, 0xC2), .. Enumerable.Repeat(scan, 300).SelectMany(s => s)]);
        Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name));
    }

    private static byte[] Of(byte[] segments) => [0xFF, 0xD8, .. segments, 0xFF, 0xD9];

    private static byte[] Segment(byte marker, byte[] body)
    {
        byte[] segment = [0xFF, marker, 0, 0, .. body];
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(2), (ushort)(body.Length + 2));
        return segment;
    }

    private static byte[] Frame(int width, int height, int components, byte marker = 0xC0) =>
        Segment(marker, [8, (byte)(height >> 8), (byte)height, (byte)(width >> 8), (byte)width, (byte)components, .. Enumerable.Range(1, components).SelectMany(i => new byte[] { (byte)i, 0x11, 0 })]);

    private static byte[] Tables() => [.. Quantization(), .. Huffman()];

    private static byte[] Quantization() => Segment(0xDB, [0, .. Enumerable.Repeat((byte)1, 64)]);

    // DC: the sizes 0 to 11 as codes of four bits. AC: an end of block as a single bit.
    private static byte[] Huffman() => Segment(0xC4, [0x00, 0, 0, 0, 12, .. new byte[12], .. Enumerable.Range(0, 12).Select(i => (byte)i), 0x10, 1, .. new byte[15], 0]);

    // One block after the other, each even, of a component of its own.
    private static byte[] Coded(params int[] values)
    {
        var bits = new StringBuilder();
        foreach (int value in values)
        {
            int dc = (value - 128) * 8, size = dc == 0 ? 0 : (int)Math.Log2(Math.Abs(dc)) + 1;
            bits.Append(Convert.ToString(size, 2).PadLeft(4, '0'));
            if (size > 0) bits.Append(Convert.ToString(dc > 0 ? dc : dc + (1 << size) - 1, 2).PadLeft(size, '0'));
            bits.Append('0');
        }

        while (bits.Length % 8 != 0) bits.Append('1');
        return [.. Enumerable.Range(0, bits.Length / 8).Select(i => Convert.ToByte(bits.ToString(8 * i, 8), 2)).SelectMany(b => b == 0xFF ? new byte[] { b, 0 } : [b])];
    }
}
