using System.Buffers.Binary;
using System.Text;
using CsCheck;
using DiffusionCore.Imaging;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli.Tests.Imaging;

public class PngFileTests
{
    private const string Name = "picture.png";
    private const int HeaderEnd = 8 + 8 + 13 + 4;

    private static readonly Image Small = new(3, 2, 1, [0, 50, 100, 150, 200, 250]);

    [Fact]
    public void Latin_text_is_a_tEXt_chunk_right_after_the_header()
    {
        byte[] file = Encode(Small, ("parameters", "café\nSteps: 2"));
        byte[] data = [.. "parameters"u8, 0, .. Encoding.Latin1.GetBytes("café\nSteps: 2")];
        byte[] chunk = Chunk("tEXt", data);
        Assert.Equal(chunk, file[HeaderEnd..(HeaderEnd + chunk.Length)]);
        Assert.Equal(Encode(Small), file[..HeaderEnd].Concat(file[(HeaderEnd + chunk.Length)..]));
    }

    [Fact]
    public void Other_text_is_an_uncompressed_iTXt_chunk_in_UTF8()
    {
        byte[] file = Encode(Small, ("parameters", "猫 🐈"));
        byte[] chunk = Chunk("iTXt", [.. "parameters"u8, 0, 0, 0, 0, 0, .. Encoding.UTF8.GetBytes("猫 🐈")]);
        Assert.Equal(chunk, file[HeaderEnd..(HeaderEnd + chunk.Length)]);
    }

    [Fact]
    public void The_checksum_is_the_one_of_the_standard() => Assert.Equal(0xAE426082u, BinaryPrimitives.ReadUInt32BigEndian(Chunk("IEND", [])[8..]));

    [Fact]
    public void Texts_come_back_in_order_with_the_same_words() =>
        Gen.Select(Gen.Char[' ', '~'].Array[1, 79], Gen.String).List[0, 5].Sample(drawn =>
        {
            // A lone surrogate has no UTF-8 form.
            var texts = drawn.Where(t => !t.Item2.Any(char.IsSurrogate)).Select(t => (new string(t.Item1), t.Item2)).ToList();
            byte[] file = Encode(Small, [.. texts]);
            Assert.Equal(texts, PngFile.ReadTexts(file, Name));
            Assert.Equal(Small.Pixels, new StbCodec().Decode(file, Name).Pixels);
        }, iter: 200);

    [Theory]
    [InlineData("")]
    [InlineData("line\nbreak")]
    [InlineData("nul\0")]
    [InlineData("猫")]
    public void A_key_outside_the_standard_is_refused(string key) => Assert.Throws<ArgumentException>(() => Encode(Small, (key, "text")));

    [Fact]
    public void A_key_of_79_characters_is_the_longest()
    {
        Assert.Single(PngFile.ReadTexts(Encode(Small, (new string('k', 79), "text")), Name));
        Assert.Throws<ArgumentException>(() => Encode(Small, (new string('k', 80), "text")));
    }

    [Fact]
    public void A_file_cut_anywhere_is_refused_with_its_name()
    {
        byte[] file = Encode(Small, ("parameters", "text"));
        for (int length = 0; length < file.Length; length++) Refused(file[..length]);
    }

    [Fact]
    public void A_changed_byte_anywhere_is_refused_with_the_name_of_the_file()
    {
        byte[] file = Encode(Small, ("parameters", "text"));
        for (int i = 0; i < file.Length; i++)
        {
            foreach (byte flip in new byte[] { 1, 0x80 })
            {
                byte[] damaged = (byte[])file.Clone();
                damaged[i] ^= flip;
                Refused(damaged);
            }
        }
    }

    [Fact]
    public void Bytes_after_the_end_do_not_matter()
    {
        byte[] file = [.. Encode(Small), 1, 2, 3];
        Assert.Equal(Small.Pixels, new StbCodec().Decode(file, Name).Pixels);
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 0)]
    [InlineData(16385, 1)]
    [InlineData(1, 16385)]
    [InlineData(0x7FFFFFFF, 0x7FFFFFFF)]
    [InlineData(0xFFFFFFFF, 0xFFFFFFFF)]
    public void The_size_is_checked_before_anything_is_decoded(uint width, uint height)
    {
        var e = Refused(WithSize(width, height));
        Assert.Contains($"{width}x{height}", e.Message);
    }

    [Fact]
    public void A_size_that_the_data_cannot_fill_is_refused_before_its_memory_is_asked_for()
    {
        byte[] file = WithSize(16384, 16384);
        Refused(file);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("too few for 16384x16384 pixels", Refused(file).Message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
    }

    [Fact]
    public void Only_PNG_files_have_text_chunks()
    {
        var e = Assert.Throws<ModelFileException>(() => PngFile.ReadTexts([1, 2, 3], Name));
        Assert.StartsWith(Name, e.Message);
    }

    private static ModelFileException Refused(byte[] file)
    {
        var e = Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, Name));
        Assert.StartsWith(Name + ": ", e.Message);
        Assert.DoesNotContain('\n', e.Message);
        return e;
    }

    private static byte[] Encode(Image image, params (string, string)[] texts)
    {
        using var target = new MemoryStream();
        new StbCodec().EncodePng(image, target, texts);
        return target.ToArray();
    }

    // A sound header that promises more than there is.
    private static byte[] WithSize(uint width, uint height)
    {
        byte[] file = Encode(Small), header = file[16..29];
        BinaryPrimitives.WriteUInt32BigEndian(header, width);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(4), height);
        return [.. file[..8], .. Chunk("IHDR", header), .. file[HeaderEnd..]];
    }

    // Written apart from the code under test: bit by bit, from the polynomial of the standard's annex D.
    private static byte[] Chunk(string type, byte[] data)
    {
        byte[] body = [.. Encoding.Latin1.GetBytes(type), .. data], chunk = new byte[data.Length + 12];
        uint c = 0xFFFFFFFF;
        foreach (byte b in body)
            for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ (((c ^ (uint)(b >> bit)) & 1) * 0xEDB88320u);
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        body.CopyTo(chunk, 4);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(chunk.Length - 4), ~c);
        return chunk;
    }
}
