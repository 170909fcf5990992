using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>One tensor of a file.</summary>
/// <param name="Dims">Extents as the file has them; a file may hold ranks that the engine does not compute with.</param>
/// <param name="Offset">Position in the file.</param>
public sealed record TensorEntry(string Name, StorageType Type, long[] Dims, long Offset, long Bytes)
{
    public override string ToString() => $"{Name} {Type.FileName()} [{string.Join(", ", Dims)}]";
}

/// <summary>
/// The header of a safetensors file: 8 bytes of length, JSON, then the tensors without holes. Everything that may be wrong with it is
/// found here, before a tensor is read and before more memory than the file's own size is asked for.
/// </summary>
public static class SafetensorsHeader
{
    /// <summary>The format's own limit, in bytes of JSON.</summary>
    public const long MaximumBytes = 100_000_000;

    public const int PrefixBytes = 8;

    internal const string MetadataName = "__metadata__";

    /// <summary>The most dimensions of a tensor: what NumPy and PyTorch can hold.</summary>
    public const int MaximumRank = 64;

    // As deep as the format's reference reads; only unknown fields go deeper than 3.
    private const int MaximumDepth = 127;

    /// <summary>Length of the JSON, from the file's first eight bytes.</summary>
    public static long Length(string file, ReadOnlySpan<byte> head, long fileBytes)
    {
        if (FileKind.Sniff(head, file) is { } kind) throw new ModelFileException(file, null, kind);
        if (fileBytes < PrefixBytes) throw new ModelFileException(file, null, $"expected a safetensors file, found only {fileBytes} bytes");
        ulong n = BinaryPrimitives.ReadUInt64LittleEndian(head);
        if (n > MaximumBytes) throw new ModelFileException(file, "header", $"expected at most {MaximumBytes} bytes of JSON, the file announces {n}; it is not a safetensors file or it is damaged");
        if ((long)n > fileBytes - PrefixBytes) throw new ModelFileException(file, "header", $"announces {n} bytes of JSON, the file has {fileBytes - PrefixBytes} after its prefix; the file is truncated");
        return (long)n;
    }

    /// <summary>Parses and checks the JSON. Tensors come back by name, in file order.</summary>
    public static (Dictionary<string, TensorEntry> Tensors, Dictionary<string, string> Metadata) Parse(string file, ReadOnlySpan<byte> json, long fileBytes)
    {
        try
        {
            new UTF8Encoding(false, throwOnInvalidBytes: true).GetCharCount(json);
        }
        catch (DecoderFallbackException e)
        {
            throw new ModelFileException(file, "header", $"is not valid UTF-8 at byte {e.Index}", e);
        }

        var entries = new List<TensorEntry>();
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            ReadRoot(file, json, entries, metadata);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new ModelFileException(file, "header", $"is not the JSON that the format asks for: {e.Message.Split('.')[0]}", e);
        }

        long data = PrefixBytes + json.Length;
        return (Place(file, entries, data, fileBytes - data), metadata);
    }

    private static void ReadRoot(string file, ReadOnlySpan<byte> json, List<TensorEntry> entries, Dictionary<string, string> metadata)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaximumDepth });
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw new ModelFileException(file, "header", "expected a JSON object");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = Text(ref reader);
            if (name.Length == 0) throw new ModelFileException(file, "''", "a tensor without a name");
            if (name.Contains('\0')) throw new ModelFileException(file, name, "the name has a NUL");
            if (!names.Add(name)) throw new ModelFileException(file, name, "is listed twice in the header");
            reader.Read();
            if (name == MetadataName) ReadMetadata(file, ref reader, metadata);
            else entries.Add(ReadEntry(file, name, ref reader));
        }

        while (reader.Read())
        {
        }
    }

    private static void ReadMetadata(string file, ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw new ModelFileException(file, MetadataName, $"expected an object of strings, found {Kind(reader)}");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = Text(ref reader);
            reader.Read();
            if (reader.TokenType != JsonTokenType.String) throw new ModelFileException(file, $"{MetadataName}.{key}", $"expected a string, found {Kind(reader)}");
            if (!metadata.TryAdd(key, Text(ref reader))) throw new ModelFileException(file, $"{MetadataName}.{key}", "is given twice");
        }
    }

    private static TensorEntry ReadEntry(string file, string name, ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw new ModelFileException(file, name, $"expected an object with dtype, shape and data_offsets, found {Kind(reader)}");
        string? dtype = null;
        List<long>? shape = null, offsets = null;
        var keys = new HashSet<string>(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = Text(ref reader);
            if (!keys.Add(key)) throw new ModelFileException(file, name, $"field '{key}' is given twice");
            reader.Read();
            switch (key)
            {
                case "dtype":
                    dtype = reader.TokenType == JsonTokenType.String ? Text(ref reader) : throw new ModelFileException(file, name, $"dtype: expected a string, found {Kind(reader)}");
                    break;
                case "shape":
                    shape = Integers(file, name, key, ref reader);
                    break;
                case "data_offsets":
                    offsets = Integers(file, name, key, ref reader);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (dtype is null) throw new ModelFileException(file, name, "has no dtype");
        if (shape is null) throw new ModelFileException(file, name, "has no shape");
        if (offsets is null) throw new ModelFileException(file, name, "has no data_offsets");
        if (!StorageTypes.TryParse(dtype, out var type)) throw new ModelFileException(file, name, $"dtype '{dtype}' is unknown");
        if (offsets.Count != 2) throw new ModelFileException(file, name, $"data_offsets: expected 2 numbers, found {offsets.Count}");
        if (offsets[1] < offsets[0]) throw new ModelFileException(file, name, $"data_offsets: ends at {offsets[1]} before it begins at {offsets[0]}");
        UInt128 bits = (UInt128)type.Bits();
        bool empty = shape.Contains(0);
        foreach (long dim in shape)
        {
            // Checked before the product, which may wrap even in 128 bits.
            if (!empty && (UInt128)dim > (UInt128)long.MaxValue * 8 / bits) throw new ModelFileException(file, name, $"shape [{string.Join(", ", shape)}] is larger than any file");
            bits = empty ? 0 : bits * (UInt128)dim;
        }

        if (bits % 8 != 0) throw new ModelFileException(file, name, $"shape [{string.Join(", ", shape)}] of {dtype} does not fill whole bytes");
        long bytes = (long)(bits / 8), range = offsets[1] - offsets[0];
        if (bytes != range) throw new ModelFileException(file, name, $"shape [{string.Join(", ", shape)}] of {dtype} needs {bytes} bytes, data_offsets give {range}");
        return new TensorEntry(name, type, [.. shape], offsets[0], bytes);
    }

    private static List<long> Integers(string file, string name, string key, ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw new ModelFileException(file, name, $"{key}: expected an array, found {Kind(reader)}");
        var numbers = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            // Only plain digits: 1.0 and 1e0 are numbers of JSON but not of this format.
            string text = reader.TokenType == JsonTokenType.Number ? Encoding.ASCII.GetString(reader.ValueSpan) : Kind(reader);
            if (reader.TokenType != JsonTokenType.Number || !long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long n))
                throw new ModelFileException(file, name, $"{key}: expected a whole number from 0 to 2^63-1, found {text}");
            if (numbers.Count == MaximumRank) throw new ModelFileException(file, name, $"{key}: more than {MaximumRank} numbers");
            numbers.Add(n);
        }

        return numbers;
    }

    // Without holes and overlaps, in the order of the data.
    private static Dictionary<string, TensorEntry> Place(string file, List<TensorEntry> entries, long data, long available)
    {
        entries.Sort((a, b) => a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset) : a.Bytes != b.Bytes ? a.Bytes.CompareTo(b.Bytes) : string.CompareOrdinal(a.Name, b.Name));
        var tensors = new Dictionary<string, TensorEntry>(entries.Count, StringComparer.Ordinal);
        long end = 0;
        foreach (var entry in entries)
        {
            if (entry.Offset != end)
                throw new ModelFileException(file, entry.Name, $"begins at {entry.Offset}, expected {end}: {(entry.Offset > end ? "a hole" : "an overlap")} in the data");
            end += entry.Bytes;
            if (end > available) throw new ModelFileException(file, entry.Name, $"ends at {end}, the file has {available} bytes of data; the file is truncated");
            tensors[entry.Name] = entry with { Offset = data + entry.Offset };
        }

        if (end != available) throw new ModelFileException(file, null, $"has {available} bytes of data, its tensors cover {end}");
        return tensors;
    }

    // GetString throws InvalidOperationException on a lone surrogate.
    private static string Text(ref Utf8JsonReader reader) => reader.GetString()!;

    private static string Kind(Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.StartObject => "an object",
        JsonTokenType.StartArray => "an array",
        JsonTokenType.String => "a string",
        JsonTokenType.Number => "a number",
        JsonTokenType.True or JsonTokenType.False => "a boolean",
        JsonTokenType.Null => "null",
        _ => "something else",
    };
}
