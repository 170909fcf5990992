using System.Buffers.Binary;
using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging;

/// <summary>Windows bitmaps without compression: a palette of 8 bits, or 24 or 32 bits of blue, green, red (the fourth byte is not used). Other kinds are refused.</summary>
internal static class BitmapDecoder
{
    private const int FileHeader = 14, InfoHeader = 40;

    public static bool IsBitmap(ReadOnlySpan<byte> file) => file.StartsWith("BM"u8);

    /// <exception cref="ModelFileException">Damaged, truncated, too large, or of a kind that is not read.</exception>
    public static Image Decode(ReadOnlySpan<byte> file, string name)
    {
        if (file.Length < FileHeader + InfoHeader) throw new ModelFileException(name, null, "is a truncated bitmap");
        uint start = BinaryPrimitives.ReadUInt32LittleEndian(file[10..]), header = BinaryPrimitives.ReadUInt32LittleEndian(file[14..]);
        long width = BinaryPrimitives.ReadInt32LittleEndian(file[18..]), signedHeight = BinaryPrimitives.ReadInt32LittleEndian(file[22..]), height = Math.Abs(signedHeight);
        int planes = BinaryPrimitives.ReadUInt16LittleEndian(file[26..]), bits = BinaryPrimitives.ReadUInt16LittleEndian(file[28..]);
        uint compression = BinaryPrimitives.ReadUInt32LittleEndian(file[30..]), colours = BinaryPrimitives.ReadUInt32LittleEndian(file[46..]);
        if (header < InfoHeader || planes != 1 || compression != 0 || bits is not (8 or 24 or 32))
            throw new ModelFileException(name, null, $"is a bitmap of a kind that is not read ({bits} bits, compression {compression}); save it as PNG");
        if (width < 1 || height < 1 || width > ImageLimits.MaximumSide || height > ImageLimits.MaximumSide || width * height > ImageLimits.MaximumPixels)
            throw new ModelFileException(name, null, $"has {width}x{height} pixels; expected 1 to {ImageLimits.MaximumSide} on a side and at most {ImageLimits.MaximumPixels} in all");
        if (colours == 0) colours = 256;
        long palette = FileHeader + (long)header, stride = (width * bits / 8 + 3) / 4 * 4, needed = palette + (bits == 8 ? 4L * colours : 0);
        if (colours > 256 && bits == 8) throw new ModelFileException(name, null, $"is a damaged bitmap: a palette of {colours} colours");
        if (start < needed || start + stride * height > file.Length) throw new ModelFileException(name, null, $"is a truncated or damaged bitmap: {file.Length} bytes for {width}x{height} pixels from byte {start} on");

        var pixels = new byte[width * height * 3];
        for (int y = 0; y < height; y++)
        {
            // Rows from the bottom, unless the height is negative.
            var row = file.Slice((int)(start + stride * (signedHeight > 0 ? height - 1 - y : y)), (int)stride);
            for (int x = 0; x < width; x++)
            {
                if (bits == 8 && row[x] >= colours) throw new ModelFileException(name, null, $"is a damaged bitmap: a pixel has colour {row[x]} of a palette of {colours}");
                var from = bits == 8 ? file[(int)(palette + 4 * row[x])..] : row[(x * bits / 8)..];
                var to = pixels.AsSpan((int)((y * width + x) * 3), 3);
                (to[0], to[1], to[2]) = (from[2], from[1], from[0]);
            }
        }

        return new Image((int)width, (int)height, 3, pixels);
    }
}
