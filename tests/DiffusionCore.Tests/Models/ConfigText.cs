using System.Text.Json.Nodes;

namespace DiffusionCore.Tests.Models;

/// <summary>Configurations as text.</summary>
internal static class ConfigText
{
    /// <summary>The object with some fields set anew.</summary>
    /// <param name="changes">Fields as they stand in an object, without its braces.</param>
    public static string With(string text, string changes)
    {
        var fields = JsonNode.Parse(text)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse($"{{{changes}}}")!.AsObject()) fields[name] = value?.DeepClone();
        return fields.ToJsonString();
    }
}
