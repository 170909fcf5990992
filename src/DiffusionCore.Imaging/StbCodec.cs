using DiffusionCore.Imaging.Jpeg;
using DiffusionCore.Runtime;
using StbImageWriteSharp;

namespace DiffusionCore.Imaging;

/// <summary>Image files: written by the managed port of the Stb library, read by the decoders of this project.</summary>
/// <remarks>Decoders face files that anyone may have made. The library's uses unchecked pointers, and a damaged JPEG was found that it does not come back from.</remarks>
public sealed class StbCodec : IImageCodec
{
    public Image Decode(byte[] file, string name)
    {
        if (file.Length == 0) throw new ModelFileException(name, null, "is empty; expected an image");
        if (PngFile.IsPng(file)) return PngDecoder.Decode(file, name);
        if (JpegDecoder.IsJpeg(file)) return JpegDecoder.Decode(file, name);
        if (BitmapDecoder.IsBitmap(file)) return BitmapDecoder.Decode(file, name);
        throw new ModelFileException(name, null, "is not an image that can be read; expected PNG, JPEG or BMP");
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
