using System.Buffers.Binary;
using System.IO.Compression;
using DiffusionCore.Runtime;

namespace DiffusionCore.Metrics;

/// <summary>Grey images of an IDX file, the format of MNIST and its kin: 00 00 08 03, three big-endian extents [count, rows, columns], then bytes; plain or gzipped.</summary>
public static class IdxImages
{
    private const uint Magic = 0x0803;
    private const int MostSamples = 1 << 30;

    /// <summary>The images, each padded on all sides to size x size with 0.</summary>
    /// <param name="folder">Holds <paramref name="name"/> or the same with .gz.</param>
    /// <exception cref="ModelFileException">It is missing, damaged, or of larger images.</exception>
    public static List<byte[]> Read(string folder, string name, int size)
    {
        string plain = Path.Combine(folder, name), zipped = plain + ".gz", path = File.Exists(plain) ? plain : zipped;
        if (!File.Exists(path)) throw new ModelFileException(folder, null, $"has no {name} and no {name}.gz");
        try
        {
            using var file = File.OpenRead(path);
            using Stream stream = path == plain ? file : new GZipStream(file, CompressionMode.Decompress);
            Span<byte> head = stackalloc byte[16];
            stream.ReadExactly(head);
            uint magic = BinaryPrimitives.ReadUInt32BigEndian(head);
            if (magic != Magic) throw new ModelFileException(path, null, $"expected an IDX file of images (00 00 08 03), found {magic:x8}");
            long count = BinaryPrimitives.ReadUInt32BigEndian(head[4..]), rows = BinaryPrimitives.ReadUInt32BigEndian(head[8..]), columns = BinaryPrimitives.ReadUInt32BigEndian(head[12..]);
            if (rows == 0 || columns == 0 || rows > size || columns > size) throw new ModelFileException(path, null, $"expected images up to {size}x{size}, found {columns}x{rows}");
            if (count * rows * columns > MostSamples) throw new ModelFileException(path, null, $"says {count} images; expected at most {MostSamples / (rows * columns)}");
            int top = (size - (int)rows) / 2, left = (size - (int)columns) / 2;
            var images = new List<byte[]>((int)count);
            for (int i = 0; i < count; i++)
            {
                var image = new byte[size * size];
                for (int y = 0; y < rows; y++) stream.ReadExactly(image, (top + y) * size + left, (int)columns);
                images.Add(image);
            }

            if (stream.ReadByte() >= 0) throw new ModelFileException(path, null, $"goes on after its {count} images");
            return images;
        }
        catch (EndOfStreamException e)
        {
            throw new ModelFileException(path, null, "ends early", e);
        }
        catch (InvalidDataException e)
        {
            throw new ModelFileException(path, null, $"cannot be unpacked: {e.Message}", e);
        }
    }
}
