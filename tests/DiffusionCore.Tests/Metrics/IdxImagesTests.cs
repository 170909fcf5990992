using System.IO.Compression;
using DiffusionCore.Metrics;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Metrics;

public sealed class IdxImagesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("dcore-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Images_are_padded_on_all_sides(bool zipped)
    {
        Write(File(2, 2, 2, 8), zipped);
        var images = IdxImages.Read(folder, "images", 4);
        Assert.Equal(2, images.Count);
        Assert.Equal([0, 0, 0, 0, 0, 5, 6, 0, 0, 7, 8, 0, 0, 0, 0, 0], images[1]);
    }

    [Theory]
    [InlineData("ends early", 2, 2, 2, 7)]
    [InlineData("goes on after its 2 images", 2, 2, 2, 9)]
    [InlineData("up to 4x4, found 5x2", 2, 2, 5, 20)]
    [InlineData("up to 4x4, found 2x0", 2, 0, 2, 0)]
    [InlineData("expected at most", 2000000000, 4, 4, 4)]
    public void A_damaged_file_is_refused(string message, int count, int rows, int columns, int bytes)
    {
        Write(File(count, rows, columns, bytes), zipped: false);
        Assert.Contains(message, Assert.Throws<ModelFileException>(() => IdxImages.Read(folder, "images", 4)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Labels_are_no_images_and_half_a_gzip_is_none()
    {
        byte[] labels = File(2, 2, 2, 8);
        labels[3] = 1;
        Write(labels, zipped: false);
        Assert.Contains("00000801", Assert.Throws<ModelFileException>(() => IdxImages.Read(folder, "images", 4)).Message, StringComparison.Ordinal);
        System.IO.File.Delete(Path.Combine(folder, "images"));
        Assert.Contains("has no images", Assert.Throws<ModelFileException>(() => IdxImages.Read(folder, "images", 4)).Message, StringComparison.Ordinal);
        System.IO.File.WriteAllBytes(Path.Combine(folder, "images.gz"), [0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        Assert.Throws<ModelFileException>(() => IdxImages.Read(folder, "images", 4));
    }

    private static byte[] File(int count, int rows, int columns, int bytes) =>
        [0, 0, 8, 3, .. Big(count), .. Big(rows), .. Big(columns), .. Enumerable.Range(1, bytes).Select(i => (byte)i)];

    private static byte[] Big(int n) => [(byte)(n >> 24), (byte)(n >> 16), (byte)(n >> 8), (byte)n];

    private void Write(byte[] bytes, bool zipped)
    {
        string path = Path.Combine(folder, "images");
        if (!zipped)
        {
            System.IO.File.WriteAllBytes(path, bytes);
            return;
        }

        using var stream = new GZipStream(System.IO.File.Create(path + ".gz"), CompressionLevel.Optimal);
        stream.Write(bytes);
    }
}
