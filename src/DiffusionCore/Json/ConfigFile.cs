using System.Text;
using System.Text.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Json;

/// <summary>
/// A JSON configuration read strictly: every field is asked for with its type and range, and an error names the file, the field,
/// what was expected and what was found.
/// </summary>
public sealed class ConfigFile
{
    private const long MaximumBytes = 10_000_000;

    private readonly JsonElement root;

    private ConfigFile(string path, JsonElement root)
    {
        Path = path;
        this.root = root;
    }

    public string Path { get; }

    /// <summary>The class that the file configures, in _class_name or the first of architectures; empty where it does not say.</summary>
    public string ClassName => Has("_class_name") || GetOptionalStrings("architectures") is not [var architecture, ..] ? GetString("_class_name", "") : architecture;

    /// <exception cref="ModelFileException">No such file, or not a JSON object.</exception>
    public static ConfigFile Load(string path)
    {
        byte[] bytes;
        if (path.Length == 0) throw new ModelFileException("''", null, "an empty file name");
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists) throw new ModelFileException(path, null, Directory.Exists(path) ? "is a folder; expected a JSON file" : "there is no such file");
            // Not opened: a named pipe would wait for its other end.
            if (info.Length == 0) throw new ModelFileException(path, null, "is empty, or is not a regular file");
            if (info.Length > MaximumBytes) throw new ModelFileException(path, null, $"has {info.Length} bytes; a configuration has at most {MaximumBytes}");
            using var stream = File.OpenRead(path);
            var buffer = new byte[info.Length + 1];
            int length = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            if (length > info.Length) throw new ModelFileException(path, null, "grew while it was read, or is not a regular file");
            bytes = buffer[..length];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFileException(path, null, $"cannot be read: {e.Message}", e);
        }

        return Parse(path, bytes);
    }

    /// <summary>Parses bytes that came from <paramref name="path"/>.</summary>
    public static ConfigFile Parse(string path, ReadOnlyMemory<byte> bytes)
    {
        try
        {
            if (bytes.Span.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
            CheckText(path, bytes.Span);
            using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = 64 });
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new ModelFileException(path, null, $"expected a JSON object, found {Kind(document.RootElement)}");
            return new ConfigFile(path, document.RootElement.Clone());
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new ModelFileException(path, null, $"is not valid JSON: {e.Message.TrimEnd('.')}", e);
        }
    }

    // System.Text.Json parses bytes that are not UTF-8 and half surrogate pairs, and fails when a string is asked for. Here it fails now.
    private static void CheckText(string path, ReadOnlySpan<byte> bytes)
    {
        try
        {
            new UTF8Encoding(false, throwOnInvalidBytes: true).GetCharCount(bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new ModelFileException(path, null, $"is not valid UTF-8 at byte {e.Index}", e);
        }

        // A field given twice is refused here and not by JsonDocument, whose own check draws from a cryptographic generator: the native
        // binary would need OpenSSL to read a configuration.
        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = 64 });
        var fields = new Stack<HashSet<string>>();
        while (reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.StartObject:
                    fields.Push(new(StringComparer.Ordinal));
                    break;
                case JsonTokenType.EndObject:
                    fields.Pop();
                    break;
                case JsonTokenType.PropertyName when reader.GetString() is { } name && !fields.Peek().Add(name):
                    throw new ModelFileException(path, name, "is given twice");
                case JsonTokenType.String when reader.ValueIsEscaped:
                    reader.GetString();
                    break;
            }
        }
    }

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>Whether the field is there, null or not.</summary>
    public bool HasKey(string name) => root.TryGetProperty(name, out _);

    public bool IsArray(string name) => Find(name) is { ValueKind: JsonValueKind.Array };

    public bool IsBool(string name) => Find(name) is { ValueKind: JsonValueKind.True or JsonValueKind.False };

    public int GetInt(string name, int? fallback, int minimum = 1, int maximum = int.MaxValue) =>
        GetOptionalInt(name, minimum, maximum) ?? fallback ?? throw Missing(name, "a whole number");

    public int? GetOptionalInt(string name, int minimum = 1, int maximum = int.MaxValue)
    {
        if (Find(name) is not { } e) return null;
        if (e.ValueKind == JsonValueKind.Number && e.TryGetInt64(out long v) && v >= minimum && v <= maximum) return (int)v;
        throw Wrong(name, $"a whole number from {minimum} to {maximum}", e);
    }

    public double GetDouble(string name, double? fallback, double minimum = double.MinValue, double maximum = double.MaxValue)
    {
        if (Find(name) is not { } e) return fallback ?? throw Missing(name, "a number");
        if (e.ValueKind == JsonValueKind.Number && e.TryGetDouble(out double v) && v >= minimum && v <= maximum) return v;
        string text = e.ValueKind == JsonValueKind.String ? e.GetString()! : "";
        if (text is "inf" or "Infinity" && maximum == double.MaxValue) return double.PositiveInfinity;
        if (text is "-inf" or "-Infinity" && minimum == double.MinValue) return double.NegativeInfinity;
        throw Wrong(name, minimum == double.MinValue && maximum == double.MaxValue ? "a number" : FormattableString.Invariant($"a number from {minimum} to {maximum}"), e);
    }

    public bool GetBool(string name, bool? fallback)
    {
        if (Find(name) is not { } e) return fallback ?? throw Missing(name, "true or false");
        return e.ValueKind is JsonValueKind.True or JsonValueKind.False ? e.GetBoolean() : throw Wrong(name, "true or false", e);
    }

    public string GetString(string name, string? fallback)
    {
        if (Find(name) is not { } e) return fallback ?? throw Missing(name, "a string");
        return e.ValueKind == JsonValueKind.String ? e.GetString()! : throw Wrong(name, "a string", e);
    }

    /// <summary>One of the known words.</summary>
    public string GetWord(string name, string? fallback, params IReadOnlyCollection<string> known)
    {
        string word = GetString(name, fallback);
        return known.Contains(word) ? word : throw new ModelFileException(Path, name, $"'{word}' is not supported{Suggestion.Hint(word, known)}");
    }

    public int[]? GetOptionalInts(string name, int minimum = 1, int maximum = int.MaxValue)
    {
        if (Find(name) is not { } e) return null;
        if (e.ValueKind != JsonValueKind.Array) throw Wrong(name, "an array of whole numbers", e);
        var values = new List<int>();
        foreach (var item in e.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out long v) || v < minimum || v > maximum)
                throw Wrong($"{name}[{values.Count}]", $"a whole number from {minimum} to {maximum}", item);
            values.Add((int)v);
        }

        return [.. values];
    }

    public double[]? GetOptionalDoubles(string name)
    {
        if (Find(name) is not { } e) return null;
        if (e.ValueKind != JsonValueKind.Array) throw Wrong(name, "an array of numbers", e);
        var values = new List<double>();
        foreach (var item in e.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetDouble(out double v) || !double.IsFinite(v)) throw Wrong($"{name}[{values.Count}]", "a number", item);
            values.Add(v);
        }

        return [.. values];
    }

    public bool[]? GetOptionalBools(string name)
    {
        if (Find(name) is not { } e) return null;
        if (e.ValueKind != JsonValueKind.Array) throw Wrong(name, "an array of true or false", e);
        var values = new List<bool>();
        foreach (var item in e.EnumerateArray())
            values.Add(item.ValueKind is JsonValueKind.True or JsonValueKind.False ? item.GetBoolean() : throw Wrong($"{name}[{values.Count}]", "true or false", item));
        return [.. values];
    }

    public string[]? GetOptionalStrings(string name)
    {
        if (Find(name) is not { } e) return null;
        if (e.ValueKind != JsonValueKind.Array) throw Wrong(name, "an array of strings", e);
        var values = new List<string>();
        foreach (var item in e.EnumerateArray())
            values.Add(item.ValueKind == JsonValueKind.String ? item.GetString()! : throw Wrong($"{name}[{values.Count}]", "a string", item));
        return [.. values];
    }

    /// <summary>An object whose values are strings.</summary>
    public Dictionary<string, string> GetStringMap(string name)
    {
        var e = Find(name) ?? throw Missing(name, "an object of strings");
        if (e.ValueKind != JsonValueKind.Object) throw Wrong(name, "an object of strings", e);
        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var p in e.EnumerateObject())
            map[p.Name] = p.Value.ValueKind == JsonValueKind.String ? p.Value.GetString()! : throw Wrong($"{name}.{p.Name}", "a string", p.Value);
        return map;
    }

    /// <summary>A nested object, to be read the same way; null where there is none.</summary>
    public ConfigFile? GetOptionalObject(string name)
    {
        if (Find(name) is not { } e) return null;
        return e.ValueKind == JsonValueKind.Object ? new ConfigFile(Path, e) : throw Wrong(name, "an object", e);
    }

    /// <summary>An array of objects, each to be read the same way; null where there is none.</summary>
    public ConfigFile[]? GetOptionalObjects(string name)
    {
        if (Find(name) is not { } e) return null;
        if (e.ValueKind != JsonValueKind.Array) throw Wrong(name, "an array of objects", e);
        var values = new List<ConfigFile>();
        foreach (var item in e.EnumerateArray())
            values.Add(item.ValueKind == JsonValueKind.Object ? new ConfigFile(Path, item) : throw Wrong($"{name}[{values.Count}]", "an object", item));
        return [.. values];
    }

    /// <summary>For what fields cannot say: an object whose keys are data, such as a vocabulary.</summary>
    internal JsonElement Root => root;

    private JsonElement? Find(string name) => root.TryGetProperty(name, out var e) && e.ValueKind != JsonValueKind.Null ? e : null;

    private ModelFileException Missing(string name, string expected) => new(Path, name, $"expected {expected}, found {(HasKey(name) ? "null" : "nothing")}");

    private ModelFileException Wrong(string name, string expected, JsonElement e) => new(Path, name, $"expected {expected}, found {Kind(e)}");

    private static string Kind(JsonElement e)
    {
        string text = e.GetRawText();
        return text.Length <= 40 ? text : e.ValueKind.ToString().ToLowerInvariant();
    }
}
