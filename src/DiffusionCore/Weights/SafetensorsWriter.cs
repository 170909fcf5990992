using System.Buffers.Binary;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>A tensor to be written.</summary>
public sealed record TensorData(string Name, StorageType Type, long[] Dims, ReadOnlyMemory<byte> Data);

/// <summary>Writes safetensors files: the most aligned types first, then by name, the header padded with spaces to a multiple of eight.</summary>
public static class SafetensorsWriter
{
    /// <summary>Writes to a temporary file beside the target and renames it: the target is whole or untouched.</summary>
    /// <exception cref="FileException">The file exists and may not be replaced, or cannot be written.</exception>
    public static void Write(string path, IEnumerable<TensorData> tensors, IReadOnlyDictionary<string, string>? metadata = null, bool overwrite = false)
    {
        var ordered = Order(tensors);
        AtomicFile.Write(path, overwrite, stream =>
        {
            stream.Write(Header(ordered, metadata));
            foreach (var tensor in ordered) stream.Write(tensor.Data.Span);
        });
    }

    /// <summary>The bytes of a whole file.</summary>
    public static byte[] ToArray(IEnumerable<TensorData> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        var ordered = Order(tensors);
        using var stream = new MemoryStream();
        stream.Write(Header(ordered, metadata));
        foreach (var tensor in ordered) stream.Write(tensor.Data.Span);
        return stream.ToArray();
    }

    private static TensorData[] Order(IEnumerable<TensorData> tensors)
    {
        var list = tensors.OrderByDescending(t => t.Type).ThenBy(t => t.Name, StringComparer.Ordinal).ToArray();
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var t in list)
        {
            if (!names.Add(t.Name)) throw new ArgumentException($"tensor '{t.Name}' is given twice", nameof(tensors));
            long bits = t.Dims.Aggregate((long)t.Type.Bits(), (a, d) => checked(a * d));
            if (bits != t.Data.Length * 8L) throw new ArgumentException($"tensor '{t.Name}' needs {bits / 8} bytes, has {t.Data.Length}", nameof(tensors));
        }

        return list;
    }

    private static byte[] Header(TensorData[] tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (metadata is not null)
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata) json.WriteString(key, value);
                json.WriteEndObject();
            }

            long offset = 0;
            foreach (var t in tensors)
            {
                json.WriteStartObject(t.Name);
                json.WriteString("dtype", t.Type.FileName());
                json.WriteStartArray("shape");
                foreach (long d in t.Dims) json.WriteNumberValue(d);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += t.Data.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        string text = Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
        byte[] body = Encoding.UTF8.GetBytes(text);
        int padded = (body.Length + 7) / 8 * 8;
        var header = new byte[8 + padded];
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)padded);
        body.CopyTo(header, 8);
        header.AsSpan(8 + body.Length).Fill((byte)' ');
        return header;
    }
}
