using System.Buffers.Binary;
using DiffusionCore.Runtime;

namespace DiffusionCore.Imaging;

/// <summary>The marker structure of JPEG files (ITU-T T.81, annex B), checked before decoding: the decoder does not come back from a segment that ends after the file.</summary>
internal static class JpegFile
{
    private const byte Mark = 0xFF, StartOfScan = 0xDA, EndOfImage = 0xD9;

    public static bool IsJpeg(ReadOnlySpan<byte> file) => file.StartsWith((ReadOnlySpan<byte>)[Mark, 0xD8, Mark]);

    /// <summary>Every segment up to the first scan lies inside the file, one of them is a frame, and the image has an end.</summary>
    /// <exception cref="ModelFileException">Truncated or damaged.</exception>
    public static void Check(ReadOnlySpan<byte> file, string name)
    {
        bool frame = false;
        int at = 2;
        while (true)
        {
            if (file.Length - at < 4) throw new ModelFileException(name, null, "is a truncated JPEG");
            if (file[at] != Mark) throw new ModelFileException(name, null, $"is a damaged JPEG: expected a marker at byte {at}");
            byte marker = file[at + 1];
            if (marker == Mark)
            {
                at++;                                   // any number of fill bytes may stand before a marker
                continue;
            }

            int length = BinaryPrimitives.ReadUInt16BigEndian(file[(at + 2)..]);
            if (marker < 0xC0 || marker is >= 0xD0 and <= EndOfImage || length < 2) throw new ModelFileException(name, null, $"is a damaged JPEG: marker {marker:X2} at byte {at}");
            if (length > file.Length - at - 2) throw new ModelFileException(name, null, "is a truncated JPEG: a segment ends after the file");
            frame |= marker is >= 0xC0 and <= 0xCF and not (0xC4 or 0xC8 or 0xCC);
            at += 2 + length;
            if (marker == StartOfScan) break;
        }

        if (!frame) throw new ModelFileException(name, null, "is a damaged JPEG: it has no frame");
        if (file[at..].LastIndexOf([Mark, EndOfImage]) < 0) throw new ModelFileException(name, null, "is a truncated JPEG: its end is missing");
    }
}
