using System.Text.Json;

namespace DiffusionCore.Json;

internal static class JsonLists
{
    public static void WriteStrings(this Utf8JsonWriter w, string name, IEnumerable<string> values)
    {
        w.WriteStartArray(name);
        foreach (string value in values) w.WriteStringValue(value);
        w.WriteEndArray();
    }

    public static void WriteNumbers(this Utf8JsonWriter w, string name, ReadOnlySpan<int> values)
    {
        w.WriteStartArray(name);
        foreach (int value in values) w.WriteNumberValue(value);
        w.WriteEndArray();
    }
}
