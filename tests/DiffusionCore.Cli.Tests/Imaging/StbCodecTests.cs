using System.Buffers.Binary;
using CsCheck;
using DiffusionCore.Imaging;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli.Tests.Imaging;

public class StbCodecTests
{
    // Nothing, JPEG, BMP, and how a TGA begins.
    private static readonly byte[][] Starts = [[], [0xFF, 0xD8, 0xFF], [.. "BM"u8], [0, 0, 2, 0]];

    [Fact]
    public void A_picture_comes_back_as_it_was() =>
        Gen.Select(Gen.Int[1, 40], Gen.Int[1, 40], Gen.Int[1, 4], Gen.Int).Sample((width, height, channels, seed) =>
        {
            var pixels = new byte[width * height * channels];
            new Random(seed).NextBytes(pixels);
            byte[] file = Encode(new Image(width, height, channels, pixels));
            var back = new StbCodec().Decode(file, "x");
            Assert.Equal((width, height, channels), (back.Width, back.Height, back.Channels));
            Assert.Equal(pixels, back.Pixels);
            // Colour type of the header: 0 grey, 4 grey and alpha, 2 RGB, 6 RGBA.
            Assert.Equal(new[] { 0, 4, 2, 6 }[channels - 1], file[25]);
        }, iter: 200);

    [Fact]
    public void The_same_picture_gives_the_same_bytes()
    {
        var pixels = new byte[64 * 64 * 3];
        new Random(1).NextBytes(pixels);
        var image = new Image(64, 64, 3, pixels);
        Assert.Equal(Encode(image), Encode(image));
    }

    [Theory]
    [InlineData(0, 2, 1, 0)]
    [InlineData(2, 0, 1, 0)]
    [InlineData(-2, -2, 1, 4)]
    [InlineData(2, 2, 0, 0)]
    [InlineData(2, 2, 5, 20)]
    [InlineData(2, 2, 3, 11)]
    [InlineData(2, 2, 3, 13)]
    [InlineData(65536, 65536, 1, 0)]
    public void A_picture_whose_bytes_do_not_fit_its_size_cannot_be_made(int width, int height, int channels, int bytes) =>
        Assert.Throws<ArgumentException>(() => new Image(width, height, channels, new byte[bytes]));

    [Fact]
    public void A_bitmap_is_read()
    {
        // Rows from the bottom, blue first, padded to four bytes.
        byte[] file = Bitmap(2, 2, [0, 0, 255, 0, 255, 0, 0, 0, 255, 0, 0, 1, 2, 3, 0, 0]);
        var image = new StbCodec().Decode(file, "x.bmp");
        Assert.Equal((2, 2, 3), (image.Width, image.Height, image.Channels));
        Assert.Equal([0, 0, 255, 3, 2, 1, 255, 0, 0, 0, 255, 0], image.Pixels);
    }

    [Theory]
    [InlineData(16385, 1)]
    [InlineData(1, 16385)]
    [InlineData(int.MaxValue, int.MaxValue)]
    public void A_bitmap_that_is_too_large_is_refused(int width, int height) => Refused(Bitmap(width, height, []), "x.bmp");

    [Fact]
    public void What_is_no_image_is_refused_with_its_name()
    {
        Assert.Contains("is empty", Refused([], "empty.png").Message);
        Refused("GIF89a"u8.ToArray(), "x.gif");
        Refused("<html>not found</html>"u8.ToArray(), "x.png");
        Refused([0xFF, 0xD8, 0xFF, 0xE0], "cut.jpg");
        Refused("BM"u8.ToArray(), "cut.bmp");
    }

    [Fact]
    public void A_JPEG_is_read_and_one_that_is_cut_in_its_header_or_has_no_end_is_refused()
    {
        byte[] file = Jpeg(24);
        var image = new StbCodec().Decode(file, "x.jpg");
        Assert.Equal((24, 24, 3), (image.Width, image.Height, image.Channels));
        Assert.All(image.Pixels, v => Assert.InRange(v, 115, 125));
        for (int length = 0; length < file.Length; length++) Refused(file[..length], "x.jpg");
        int scan = file.AsSpan().IndexOf((ReadOnlySpan<byte>)[0xFF, 0xDA]);
        for (int length = 0; length < scan + 4; length++) Refused([.. file[..length], 0xFF, 0xD9], "x.jpg");
    }

    [Fact]
    public void A_damaged_JPEG_ends_in_a_picture_or_a_named_error() =>
        Gen.Select(Gen.Int[0, 2000], Gen.Byte, Gen.Int[0, 2000], Gen.Byte).Sample((i, a, j, b) =>
        {
            byte[] file = Jpeg(16);
            file[i % file.Length] = a;
            file[j % file.Length] = b;
            try
            {
                new StbCodec().Decode(file, "x");
            }
            catch (ModelFileException e)
            {
                Assert.StartsWith("x: ", e.Message);
            }
        }, iter: 500);

    [Fact]
    public void No_bytes_end_in_anything_but_a_picture_or_a_named_error() =>
        Gen.Select(Gen.Int[0, Starts.Length - 1], Gen.Byte.Array[0, 200]).Sample((index, rest) =>
        {
            byte[] start = Starts[index];
            try
            {
                new StbCodec().Decode([.. start, .. rest], "x");
                Assert.NotEmpty(start);
                Assert.NotEqual(0, start[0]);           // as a TGA begins: no mark, so not taken
            }
            catch (ModelFileException e)
            {
                Assert.StartsWith("x: ", e.Message);
            }
        }, iter: 500);

    [Fact]
    public void A_grid_puts_pictures_row_by_row_and_leaves_the_rest_black()
    {
        Image Two(byte v) => new(2, 1, 1, [v, (byte)(v + 1)]);
        var grid = Image.Grid([Two(10), Two(20), Two(30)], 2);
        Assert.Equal((4, 2, 1), (grid.Width, grid.Height, grid.Channels));
        Assert.Equal([10, 11, 20, 21, 30, 31, 0, 0], grid.Pixels);
        var tall = Image.Grid([new Image(1, 2, 3, [1, 2, 3, 4, 5, 6]), new Image(1, 2, 3, [7, 8, 9, 10, 11, 12])], 2);
        Assert.Equal([1, 2, 3, 7, 8, 9, 4, 5, 6, 10, 11, 12], tall.Pixels);
    }

    [Fact]
    public void A_grid_of_nothing_of_unequal_pictures_or_of_no_columns_is_refused()
    {
        var one = new Image(1, 1, 1, [0]);
        Assert.Throws<ArgumentException>(() => Image.Grid([], 1));
        Assert.Throws<ArgumentException>(() => Image.Grid([one, new Image(2, 1, 1, [0, 0])], 2));
        Assert.Throws<ArgumentException>(() => Image.Grid([one, new Image(1, 1, 3, [0, 0, 0])], 2));
        Assert.ThrowsAny<ArgumentException>(() => Image.Grid([one], 0));
    }

    private static ModelFileException Refused(byte[] file, string name)
    {
        var e = Assert.Throws<ModelFileException>(() => new StbCodec().Decode(file, name));
        Assert.StartsWith(name + ": ", e.Message);
        return e;
    }

    private static byte[] Encode(Image image)
    {
        using var target = new MemoryStream();
        new StbCodec().EncodePng(image, target, []);
        return target.ToArray();
    }

    private static byte[] Jpeg(int side)
    {
        var grey = new byte[side * side * 3];
        Array.Fill(grey, (byte)120);
        using var target = new MemoryStream();
        new StbImageWriteSharp.ImageWriter().WriteJpg(grey, side, side, StbImageWriteSharp.ColorComponents.RedGreenBlue, target, 90);
        return target.ToArray();
    }

    private static byte[] Bitmap(int width, int height, byte[] rows)
    {
        var file = new byte[54 + rows.Length];
        "BM"u8.CopyTo(file);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(2), file.Length);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(10), 54);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(14), 40);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(18), width);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(22), height);
        file[26] = 1;
        file[28] = 24;
        rows.CopyTo(file, 54);
        return file;
    }
}
