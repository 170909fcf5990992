using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>A tensor to be written.</summary>
public sealed record TensorData(string Name, StorageType Type, long[] Dims, ReadOnlyMemory<byte> Data);

/// <summary>What a header says of a tensor whose data is written apart.</summary>
public sealed record TensorHeader(string Name, StorageType Type, long[] Dims)
{
    /// <summary>Types of whole bytes only.</summary>
    public long Bytes => Dims.Aggregate(1L, (a, d) => checked(a * d)) * (Type.Bits() / 8);
}

/// <summary>Writes safetensors files: the most aligned types first, then by name, the header padded with spaces to a multiple of eight.</summary>
public static class SafetensorsWriter
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    /// <summary>Writes to a temporary file beside the target and renames it: the target is whole or untouched.</summary>
    /// <exception cref="ArgumentException">A name twice, a name that JSON cannot hold, or data that is not as long as type and shape say.</exception>
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

    /// <summary>
    /// The header of a file whose data the caller streams: prefix and JSON, and where each tensor's bytes go, counted from the header's end,
    /// in the order in which the tensors are given. All are of one type; the file lists them as other writers do, by name.
    /// </summary>
    public static (byte[] Header, long[] Offsets) Header(IReadOnlyList<TensorHeader> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        if (tensors.Select(t => t.Type).Distinct().Count() > 1) throw new ArgumentException("the tensors are of several types", nameof(tensors));
        int[] order = [.. Enumerable.Range(0, tensors.Count).OrderBy(i => tensors[i].Name, StringComparer.Ordinal)];
        var offsets = new long[tensors.Count];
        long offset = 0;
        foreach (int i in order)
        {
            offsets[i] = offset;
            offset += tensors[i].Bytes;
        }

        return (Header([.. order.Select(i => (tensors[i].Name, tensors[i].Type, tensors[i].Dims, tensors[i].Bytes))], metadata), offsets);
    }

    private static byte[] Header(TensorData[] tensors, IReadOnlyDictionary<string, string>? metadata) =>
        Header([.. tensors.Select(t => (t.Name, t.Type, t.Dims, (long)t.Data.Length))], metadata);

    private static TensorData[] Order(IEnumerable<TensorData> tensors)
    {
        // By bytes of UTF-8, which is not the order of UTF-16 beyond the basic plane.
        var list = tensors.OrderByDescending(t => t.Type).ThenBy(t => Strict.GetBytes(t.Name), Comparer<byte[]>.Create((a, b) => a.AsSpan().SequenceCompareTo(b))).ToArray();
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var t in list)
        {
            if (t.Name.Length == 0 || t.Name == SafetensorsHeader.MetadataName || t.Name.Contains('\0')) throw new ArgumentException($"'{t.Name}' cannot name a tensor", nameof(tensors));
            if (!names.Add(t.Name)) throw new ArgumentException($"tensor '{t.Name}' is given twice", nameof(tensors));
            if (t.Dims.Length > SafetensorsHeader.MaximumRank || t.Dims.Any(d => d < 0)) throw new ArgumentException($"tensor '{t.Name}' has the shape [{string.Join(", ", t.Dims)}]", nameof(tensors));
            var bits = t.Dims.Contains(0) ? 0 : t.Dims.Aggregate((Int128)t.Type.Bits(), (a, d) => checked(a * d));
            if (bits != (Int128)t.Data.Length * 8) throw new ArgumentException($"tensor '{t.Name}' needs {bits} bits, has {t.Data.Length} bytes", nameof(tensors));
        }

        return list;
    }

    private static byte[] Header((string Name, StorageType Type, long[] Dims, long Bytes)[] tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var json = new StringBuilder("{");
        if (metadata is not null)
        {
            Quote(json, SafetensorsHeader.MetadataName).Append(":{");
            string comma = "";
            foreach (var (key, value) in metadata)
            {
                Quote(json.Append(comma), key).Append(':');
                Quote(json, value);
                comma = ",";
            }

            json.Append('}');
        }

        long offset = 0;
        foreach (var t in tensors)
        {
            if (json.Length > 1) json.Append(',');
            Quote(json, t.Name).Append(CultureInfo.InvariantCulture, $":{{\"dtype\":\"{t.Type.FileName()}\",\"shape\":[{string.Join(',', t.Dims)}],\"data_offsets\":[{offset},{offset + t.Bytes}]}}");
            offset += t.Bytes;
        }

        byte[] body = Strict.GetBytes(json.Append('}').ToString());
        int padded = (body.Length + 7) / 8 * 8;
        if (padded > SafetensorsHeader.MaximumBytes) throw new ArgumentException($"the names need a header of {padded} bytes; the format allows {SafetensorsHeader.MaximumBytes}", nameof(tensors));
        var header = new byte[SafetensorsHeader.PrefixBytes + padded];
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)padded);
        body.CopyTo(header, SafetensorsHeader.PrefixBytes);
        header.AsSpan(SafetensorsHeader.PrefixBytes + body.Length).Fill((byte)' ');
        return header;
    }

    // Escapes what JSON demands and no more, as the format's reference does: the same tensors then give the same bytes.
    private static StringBuilder Quote(StringBuilder json, string text)
    {
        json.Append('"');
        foreach (char c in text)
        {
            switch (c)
            {
                case '"' or '\\':
                    json.Append('\\').Append(c);
                    break;
                case '\b':
                    json.Append("\\b");
                    break;
                case '\t':
                    json.Append("\\t");
                    break;
                case '\n':
                    json.Append("\\n");
                    break;
                case '\f':
                    json.Append("\\f");
                    break;
                case '\r':
                    json.Append("\\r");
                    break;
                case < ' ':
                    json.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
                    break;
                default:
                    json.Append(c);
                    break;
            }
        }

        return json.Append('"');
    }
}
