using DiffusionCore.Runtime;
using StbImageSharp;
using StbImageWriteSharp;

namespace DiffusionCore.Imaging;

/// <summary>Image files: PNG is read by <see cref="PngDecoder"/>, the rest by the managed ports of the Stb libraries.</summary>
public sealed class StbCodec : IImageCodec
{
    public Image Decode(byte[] file, string name)
    {
        if (file.Length == 0) throw new ModelFileException(name, null, "is empty; expected an image");
        // By the first bytes: the decoder itself takes nearly anything for one of the formats that have no mark.
        if (PngFile.IsPng(file)) return PngDecoder.Decode(file, name);
        if (JpegFile.IsJpeg(file)) JpegFile.Check(file, name);
        else if (!file.AsSpan().StartsWith("BM"u8)) throw new ModelFileException(name, null, "is not an image that can be read; expected PNG, JPEG or BMP");
        try
        {
            using var stream = new MemoryStream(file);
            var info = ImageInfo.FromStream(stream) ?? throw new ModelFileException(name, null, "is not an image that can be read; expected PNG, JPEG or BMP");
            if (info.Width < 1 || info.Height < 1 || info.Width > ImageLimits.MaximumSide || info.Height > ImageLimits.MaximumSide || (long)info.Width * info.Height > ImageLimits.MaximumPixels)
                throw new ModelFileException(name, null, $"has {info.Width}x{info.Height} pixels; expected at most {ImageLimits.MaximumSide} on a side");
            var result = ImageResult.FromMemory(file, StbImageSharp.ColorComponents.Default);
            return new Image(result.Width, result.Height, (int)result.Comp, result.Data);
        }
        catch (Exception e) when (e is not DiffusionCoreException and not OutOfMemoryException)
        {
            throw new ModelFileException(name, null, $"cannot be decoded: {e.Message}", e);
        }
    }

    public void EncodePng(Image image, Stream target, IReadOnlyList<(string Key, string Text)> texts)
    {
        using var plain = new MemoryStream();
        var components = image.Channels switch
        {
            1 => StbImageWriteSharp.ColorComponents.Grey,
            2 => StbImageWriteSharp.ColorComponents.GreyAlpha,
            3 => StbImageWriteSharp.ColorComponents.RedGreenBlue,
            4 => StbImageWriteSharp.ColorComponents.RedGreenBlueAlpha,
            _ => throw new ArgumentException($"an image has 1 to 4 channels, not {image.Channels}", nameof(image)),
        };
        new ImageWriter().WritePng(image.Pixels, image.Width, image.Height, components, plain);
        target.Write(PngFile.WithTexts(plain.ToArray(), texts));
    }
}
