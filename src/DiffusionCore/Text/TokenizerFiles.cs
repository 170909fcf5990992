using System.Text;
using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Text;

/// <summary>A tokenizer folder as read: vocab.json and merges.txt, or tokenizer.json; then what tokenizer_config.json and special_tokens_map.json add.</summary>
/// <param name="Source">The file that holds the vocabulary.</param>
/// <param name="Tokens">Special tokens by their role: bos_token, eos_token, pad_token, unk_token.</param>
/// <param name="MaximumLength">Null where no file says, or says that there is none.</param>
internal sealed record TokenizerFiles(
    string Source, Dictionary<string, int> Vocabulary, List<(string Left, string Right)> Merges, Dictionary<string, string> Tokens, int? MaximumLength)
{
    private const long MaximumBytes = 64_000_000;
    private const int MaximumId = 10_000_000;

    private static readonly string[] Roles = ["bos_token", "eos_token", "pad_token", "unk_token"];

    /// <exception cref="ModelFileException">A file is missing or not what it should be.</exception>
    public static TokenizerFiles Read(string folder)
    {
        if (!Directory.Exists(folder)) throw new ModelFileException(folder, null, File.Exists(folder) ? "is a file; expected a tokenizer folder" : "there is no such tokenizer folder");
        string vocabulary = Path.Combine(folder, "vocab.json"), merges = Path.Combine(folder, "merges.txt"), single = Path.Combine(folder, "tokenizer.json");
        var tokens = new Dictionary<string, string>(StringComparer.Ordinal);
        int? length = null;
        if (Optional(folder, "tokenizer_config.json") is { } config)
        {
            AddTokens(config, tokens);

            // "No limit" is written as a number with thirty digits.
            if (config.Has("model_max_length") && config.GetDouble("model_max_length", null, 1) is < 1e6 and var limit) length = (int)limit;
        }

        if (Optional(folder, "special_tokens_map.json") is { } map) AddTokens(map, tokens);
        if (File.Exists(vocabulary))
        {
            if (!File.Exists(merges)) throw new ModelFileException(folder, null, "has vocab.json but no merges.txt beside it");
            return new TokenizerFiles(vocabulary, Ids(vocabulary, null, ConfigFile.Load(vocabulary).Root), Lines(merges), tokens, length);
        }

        if (!File.Exists(single)) throw new ModelFileException(folder, null, "has no vocabulary: expected vocab.json with merges.txt, or tokenizer.json");
        var file = ConfigFile.Load(single);
        var model = file.GetOptionalObject("model") ?? throw new ModelFileException(single, "model", "expected an object, found nothing");
        model.GetWord("type", "BPE", "BPE");
        if (!model.Root.TryGetProperty("vocab", out var entries)) throw new ModelFileException(single, "model.vocab", "expected an object of ids, found nothing");
        var ids = Ids(single, "model.vocab", entries);
        foreach (var (token, id) in Added(file)) ids.TryAdd(token, id);
        return new TokenizerFiles(single, ids, Pairs(single, model), tokens, length);
    }

    private static ConfigFile? Optional(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        return File.Exists(path) ? ConfigFile.Load(path) : null;
    }

    // A token is written as its text, or as an object that says how it is matched.
    private static void AddTokens(ConfigFile file, Dictionary<string, string> tokens)
    {
        foreach (string role in Roles)
        {
            if (!file.Root.TryGetProperty(role, out var e)) continue;
            if (e.ValueKind == JsonValueKind.Object) tokens[role] = file.GetOptionalObject(role)!.GetString("content", null);
            else if (e.ValueKind != JsonValueKind.Null) tokens[role] = file.GetString(role, null);
        }
    }

    private static Dictionary<string, int> Ids(string path, string? item, JsonElement e)
    {
        if (e.ValueKind != JsonValueKind.Object) throw new ModelFileException(path, item, $"expected an object of ids, found {e.ValueKind}");
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var p in e.EnumerateObject())
        {
            if (p.Value.ValueKind != JsonValueKind.Number || !p.Value.TryGetInt32(out int id) || id is < 0 or > MaximumId)
                throw new ModelFileException(path, p.Name, $"expected an id from 0 to {MaximumId}, found {OneLine(p.Value)}");
            ids[p.Name] = id;
        }

        return ids.Count > 0 ? ids : throw new ModelFileException(path, item, "is an empty vocabulary");
    }

    private static string OneLine(JsonElement e) => e.GetRawText() is { Length: <= 40 } text ? text : e.ValueKind.ToString();

    private static IEnumerable<(string, int)> Added(ConfigFile file)
    {
        if (!file.Root.TryGetProperty("added_tokens", out var list) || list.ValueKind != JsonValueKind.Array) yield break;
        foreach (var e in list.EnumerateArray())
        {
            if (e.ValueKind == JsonValueKind.Object && e.TryGetProperty("id", out var id) && id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int n)
                && e.TryGetProperty("content", out var content) && content.ValueKind == JsonValueKind.String) yield return (content.GetString()!, n);
        }
    }

    private static List<(string, string)> Pairs(string path, ConfigFile model)
    {
        if (!model.Root.TryGetProperty("merges", out var list) || list.ValueKind != JsonValueKind.Array) throw new ModelFileException(path, "model.merges", "expected an array of pairs");
        var pairs = new List<(string, string)>();
        foreach (var e in list.EnumerateArray())
        {
            // Older files have "a b", newer ones ["a", "b"].
            string? text = e.ValueKind == JsonValueKind.String ? e.GetString()
                : e.ValueKind == JsonValueKind.Array && e.GetArrayLength() == 2 && e[0].ValueKind == JsonValueKind.String && e[1].ValueKind == JsonValueKind.String ? $"{e[0].GetString()} {e[1].GetString()}"
                : null;
            pairs.Add(Pair(text ?? "") ?? throw new ModelFileException(path, $"model.merges[{pairs.Count}]", "expected two tokens"));
        }

        return pairs;
    }

    private static List<(string, string)> Lines(string path)
    {
        try
        {
            if (new FileInfo(path).Length > MaximumBytes) throw new ModelFileException(path, null, $"has more than {MaximumBytes} bytes; merges have a few hundred thousand");
            var pairs = new List<(string, string)>();
            int number = 0;
            foreach (string line in File.ReadLines(path, new UTF8Encoding(false, throwOnInvalidBytes: true)))
            {
                number++;
                if (line.Length == 0 || (number == 1 && line.StartsWith("#version", StringComparison.Ordinal))) continue;
                pairs.Add(Pair(line) ?? throw new ModelFileException(path, $"line {number}", "expected two tokens with a space between them"));
            }

            return pairs;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or DecoderFallbackException)
        {
            throw new ModelFileException(path, null, $"cannot be read: {e.Message}", e);
        }
    }

    private static (string, string)? Pair(string line)
    {
        int space = line.IndexOf(' ', StringComparison.Ordinal);
        return space > 0 && space < line.Length - 1 && line.IndexOf(' ', space + 1) < 0 ? (line[..space], line[(space + 1)..]) : null;
    }
}
