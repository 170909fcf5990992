using DiffusionCore.Imaging;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Image files as the engine takes them.</summary>
internal static class SourceImages
{
    /// <param name="channels">1: brightness; 3: colour. Transparency is dropped.</param>
    /// <exception cref="ModelFileException">Not an image.</exception>
    public static SourceImage? Read(string? path, int channels)
    {
        if (path is null) return null;
        byte[] file;
        try
        {
            file = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new ModelFileException(path, null, $"cannot be read: {e.Message}", e);
        }

        var image = new StbCodec().Decode(file, path);
        int colours = image.Channels <= 2 ? 1 : 3;
        var values = new float[image.Width * image.Height * channels];
        for (int i = 0; i < image.Width * image.Height; i++)
        {
            var pixel = image.Pixels.AsSpan(i * image.Channels, colours);
            for (int c = 0; c < channels; c++)
            {
                // Brightness with the weights of ITU-R BT.601, as imaging programs turn colour to grey.
                double v = colours == 1 ? pixel[0] : channels == 1 ? 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2] : pixel[c];
                values[i * channels + c] = (float)(v / 255);
            }
        }

        return new SourceImage(image.Width, image.Height, channels, values);
    }
}
