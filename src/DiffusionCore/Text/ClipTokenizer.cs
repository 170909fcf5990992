using System.Text;
using DiffusionCore.Runtime;

namespace DiffusionCore.Text;

/// <summary>
/// The tokenizer of CLIP's text encoders (Radford et al. 2021): cleaned, lower-case text, cut into words, each encoded by byte pairs.
/// Reads a model's tokenizer folder. Safe for use from several threads.
/// </summary>
public sealed class ClipTokenizer
{
    /// <summary>Characters of a prompt: far beyond what any encoder takes, and encoded in about a second.</summary>
    public const int MaximumCharacters = 1_000_000;

    /// <summary>Positions of CLIP's text encoders.</summary>
    public const int DefaultLength = 77;

    private const string DefaultStart = "<|startoftext|>", DefaultEnd = "<|endoftext|>", EndOfWord = "</w>";

    private readonly BytePairEncoder encoder;
    private readonly string startToken, endToken;
    private readonly Dictionary<int, string> tokens;

    private ClipTokenizer(TokenizerFiles files)
    {
        startToken = files.Tokens.GetValueOrDefault("bos_token", DefaultStart);
        endToken = files.Tokens.GetValueOrDefault("eos_token", DefaultEnd);
        Start = Id(startToken);
        End = Id(endToken);
        Pad = files.Tokens.TryGetValue("pad_token", out string? pad) ? Id(pad) : End;
        int unknown = files.Tokens.TryGetValue("unk_token", out string? unk) ? Id(unk) : End;
        MaximumLength = Math.Min(files.MaximumLength ?? DefaultLength, DefaultLength);
        if (MaximumLength < 3) throw new ModelFileException(files.Source, "model_max_length", $"expected room for a start, an end and a token between them, found {MaximumLength}");
        VocabularySize = files.Vocabulary.Values.Max() + 1;
        tokens = new Dictionary<int, string>(files.Vocabulary.Count);
        foreach (var (text, id) in files.Vocabulary) tokens.TryAdd(id, text);
        encoder = new BytePairEncoder(files.Vocabulary, files.Merges, unknown);
        Comma = files.Vocabulary.GetValueOrDefault("," + EndOfWord, -1);

        int Id(string token) => files.Vocabulary.TryGetValue(token, out int id) ? id : throw new ModelFileException(files.Source, token, "the special token is not in the vocabulary");
    }

    /// <summary>Id before a text.</summary>
    public int Start { get; }

    /// <summary>Id after a text.</summary>
    public int End { get; }

    /// <summary>Id that fills up: the end again for CLIP ViT-L, 0 for OpenCLIP.</summary>
    public int Pad { get; }

    /// <summary>Positions of a padded text, start and end included.</summary>
    public int MaximumLength { get; }

    /// <summary>One more than the largest id: what the encoder's embedding must have at least.</summary>
    public int VocabularySize { get; }

    /// <summary>Id of a comma that stands by itself; -1 where the vocabulary has none.</summary>
    internal int Comma { get; }

    /// <param name="folder">Holds vocab.json and merges.txt, or tokenizer.json.</param>
    /// <exception cref="ModelFileException">A file is missing or not what it should be.</exception>
    public static ClipTokenizer Load(string folder) => new(TokenizerFiles.Read(folder));

    /// <summary>Ids of a text of any length, without start, end and padding.</summary>
    /// <exception cref="UsageException">The text is longer than <see cref="MaximumCharacters"/>.</exception>
    public List<int> Encode(string text)
    {
        if (text.Length > MaximumCharacters) throw new UsageException($"the prompt has {text.Length} characters; expected at most {MaximumCharacters}");
        var ids = new List<int>();
        var words = new ClipWords(TextCleaning.Clean(text), startToken, endToken);
        for (var word = words.Next(); word.Length > 0; word = words.Next())
        {
            if (word.Equals(startToken, StringComparison.OrdinalIgnoreCase)) ids.Add(Start);
            else if (word.Equals(endToken, StringComparison.OrdinalIgnoreCase)) ids.Add(End);
            else encoder.Encode(word, ids);
        }

        return ids;
    }

    /// <summary>The vocabulary's entry of an id, with the mark of a word's end; empty where it has none.</summary>
    public string TokenOf(int id) => tokens.GetValueOrDefault(id, "");

    /// <summary>The text that ids stand for, words apart by one space. Ids that are no text of the vocabulary are left out.</summary>
    public string Decode(IEnumerable<int> ids)
    {
        var bytes = new List<byte>();
        foreach (int id in ids)
        {
            if (id == Start || id == End || !tokens.TryGetValue(id, out string? token)) continue;
            bool ends = token.EndsWith(EndOfWord, StringComparison.Ordinal);
            foreach (char c in ends ? token.AsSpan(0, token.Length - EndOfWord.Length) : token)
                if (ByteSymbols.ByteOf(c) is >= 0 and var b) bytes.Add((byte)b);
            if (ends) bytes.Add((byte)' ');
        }

        return Encoding.UTF8.GetString(bytes.ToArray()).TrimEnd(' ');
    }
}
