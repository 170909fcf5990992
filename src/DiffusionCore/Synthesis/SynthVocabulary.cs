using System.Text.Json;
using DiffusionCore.Text;

namespace DiffusionCore.Synthesis;

/// <summary>
/// A vocabulary in CLIP's format, of any size, that owes nothing to a real one: the 256 byte symbols, the same at the end of a word, merges
/// of two, then three, then four lower-case letters in the order of the alphabet, the two special tokens. Every text can be encoded.
/// </summary>
internal static class SynthVocabulary
{
    private const string Start = "<|startoftext|>", End = "<|endoftext|>", EndOfWord = "</w>";
    private const int Letters = 26, Specials = 2, Symbols = 512;

    public static void Write(string folder, SynthTokenizer tokenizer)
    {
        Directory.CreateDirectory(folder);
        var merges = Merges(tokenizer.Vocabulary - Symbols - Specials);
        using (var stream = File.Create(Path.Combine(folder, "vocab.json")))
        using (var w = new Utf8JsonWriter(stream))
        {
            int id = 0;
            w.WriteStartObject();
            foreach (string end in new[] { "", EndOfWord })
                foreach (byte b in ByteSymbols.InOrder) w.WriteNumber(ByteSymbols.Of(b) + end, id++);
            foreach (var (left, right) in merges) w.WriteNumber(left + right, id++);
            w.WriteNumber(Start, id++);
            w.WriteNumber(End, id);
            w.WriteEndObject();
        }

        using (var text = new StreamWriter(Path.Combine(folder, "merges.txt")) { NewLine = "\n" })
        {
            text.WriteLine("#version: 0.2");
            foreach (var (left, right) in merges) text.WriteLine($"{left} {right}");
        }

        string pad = tokenizer.PadsWithEnd ? End : "!";
        SynthModel.WriteJson(Path.Combine(folder, "special_tokens_map.json"), w => Tokens(w, pad));
        SynthModel.WriteJson(Path.Combine(folder, "tokenizer_config.json"), w =>
        {
            Tokens(w, pad);
            w.WriteNumber("model_max_length", ClipTokenizer.DefaultLength);
            w.WriteString("tokenizer_class", "CLIPTokenizer");
        });
    }

    private static void Tokens(Utf8JsonWriter w, string pad)
    {
        w.WriteString("bos_token", Start);
        w.WriteString("eos_token", End);
        w.WriteString("pad_token", pad);
        w.WriteString("unk_token", End);
    }

    // Every result is new: what is merged from letters is told apart by its letters and by whether it ends a word.
    private static List<(string, string)> Merges(int count)
    {
        var merges = new List<(string, string)>(count);
        foreach (var (left, right) in All())
        {
            if (merges.Count == count) return merges;
            merges.Add((left, right));
        }

        throw new ArgumentOutOfRangeException(nameof(count), count, "more merges than there are words of four letters");
    }

    private static IEnumerable<(string, string)> All()
    {
        string[] pairs = [.. from a in Alphabet() from b in Alphabet() select a + b];
        foreach (string end in new[] { "", EndOfWord })
            foreach (string pair in pairs) yield return (pair[..1], pair[1..] + end);
        foreach (string end in new[] { "", EndOfWord })
            foreach (string pair in pairs)
                foreach (string c in Alphabet()) yield return (pair, c + end);
        foreach (string pair in pairs)
            foreach (string other in pairs) yield return (pair, other);
    }

    private static IEnumerable<string> Alphabet() => Enumerable.Range(0, Letters).Select(i => ((char)('a' + i)).ToString());
}
