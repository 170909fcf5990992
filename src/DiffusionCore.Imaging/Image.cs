namespace DiffusionCore.Imaging;

/// <summary>An image of 8-bit samples, rows of interleaved channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.</summary>
public sealed record Image(int Width, int Height, int Channels, byte[] Pixels)
{
    /// <summary>Rows from the top, Width * Height * Channels bytes.</summary>
    public byte[] Pixels { get; } = Width > 0 && Height > 0 && Channels is >= 1 and <= 4 && Pixels.LongLength == (long)Width * Height * Channels
        ? Pixels
        : throw new ArgumentException($"{Width}x{Height} pixels of {Channels} channels do not go with {Pixels.Length} bytes", nameof(Pixels));

    /// <summary>Images of one size side by side, row by row; missing ones at the end are black.</summary>
    public static Image Grid(IReadOnlyList<Image> images, int columns)
    {
        if (images.Count == 0) throw new ArgumentException("a grid needs at least one image", nameof(images));
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        var (width, height, channels) = (images[0].Width, images[0].Height, images[0].Channels);
        int rows = (images.Count + columns - 1) / columns, stride = columns * width * channels;
        var pixels = new byte[checked(rows * height * stride)];
        for (int i = 0; i < images.Count; i++)
        {
            var image = images[i];
            if (image.Width != width || image.Height != height || image.Channels != channels) throw new ArgumentException($"image {i} has another size than the first", nameof(images));
            for (int y = 0; y < height; y++)
                image.Pixels.AsSpan(y * width * channels, width * channels).CopyTo(pixels.AsSpan((i / columns * height + y) * stride + i % columns * width * channels));
        }

        return new Image(columns * width, rows * height, channels, pixels);
    }
}

/// <summary>Reads and writes image files. One small interface, so that another codec can take its place.</summary>
public interface IImageCodec
{
    /// <param name="name">How errors call the source.</param>
    /// <exception cref="Runtime.ModelFileException">Not an image, damaged, or larger than <see cref="ImageLimits"/> allow.</exception>
    Image Decode(byte[] file, string name);

    /// <summary>PNG. The texts go to text chunks, in order; the same arguments give the same bytes.</summary>
    void EncodePng(Image image, Stream target, IReadOnlyList<(string Key, string Text)> texts);
}

/// <summary>The largest image that is decoded.</summary>
public static class ImageLimits
{
    public const int MaximumSide = 16384;

    public const long MaximumPixels = 1L << 28;
}
