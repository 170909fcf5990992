using System.Globalization;
using System.Text;
using DiffusionCore.Runtime;

namespace DiffusionCore.Text;

/// <summary>
/// BERT's tokenizer for lower-cased text (Devlin et al. 2019): words, punctuation and ideographs apart, accents dropped, then the longest pieces of the
/// vocabulary from the left (WordPiece); a piece that continues a word is written with ## before it. [CLS] text [SEP], padded with [PAD].
/// </summary>
public sealed class BertTokenizer
{
    public const string FileName = "vocab.txt";

    private const string Begin = "[CLS]", End = "[SEP]", Pad = "[PAD]", Unknown = "[UNK]", Continues = "##";
    private const int LongestWord = 100;
    private const long MaximumBytes = 16_000_000;

    private readonly Dictionary<string, int> ids;
    private readonly int begin, end, pad, unknown;

    private BertTokenizer(string path, Dictionary<string, int> ids)
    {
        this.ids = ids;
        (begin, end, pad, unknown) = (Of(Begin), Of(End), Of(Pad), Of(Unknown));

        int Of(string token) => ids.TryGetValue(token, out int id) ? id : throw new ModelFileException(path, token, "is not in the vocabulary");
    }

    public int VocabularySize => ids.Values.Max() + 1;

    /// <summary>Reads vocab.txt, one token per line, of a folder.</summary>
    /// <exception cref="ModelFileException">There is none, or it lacks a special token.</exception>
    public static BertTokenizer Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path)) throw new ModelFileException(folder, null, $"has no {FileName}, the vocabulary of a BERT tokenizer");
        try
        {
            if (new FileInfo(path).Length is 0 or > MaximumBytes) throw new ModelFileException(path, null, $"expected a vocabulary of 1 to {MaximumBytes} bytes, found {new FileInfo(path).Length}");
            var ids = new Dictionary<string, int>(StringComparer.Ordinal);
            int id = 0;
            foreach (string line in File.ReadAllText(path, new UTF8Encoding(false, throwOnInvalidBytes: true)).Split('\n'))
            {
                // A later line of the same token takes its place, as the peers read it.
                if (line.Length > 0) ids[line.TrimEnd('\r')] = id;
                id++;
            }

            return new BertTokenizer(path, ids);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or DecoderFallbackException)
        {
            throw new ModelFileException(path, null, $"cannot be read: {e.Message}", e);
        }
    }

    /// <param name="length">Numbers of the result.</param>
    /// <returns>Token numbers, and what found no room as text; null where everything did.</returns>
    public (int[] Ids, string? Lost) Encode(string text, int length)
    {
        var result = new List<int> { begin };
        string? lost = null;
        foreach (string word in Words(text))
        {
            var pieces = Pieces(word);
            if (lost is null && result.Count + pieces.Count <= length - 1)
            {
                result.AddRange(pieces);
                continue;
            }

            // The peers cut between pieces, not between words.
            if (lost is null) result.AddRange(pieces.Take(length - 1 - result.Count));
            lost = lost is null ? word : lost + " " + word;
        }

        result.Add(end);
        while (result.Count < length) result.Add(pad);
        return ([.. result], lost);
    }

    /// <summary>Lower-cased words without accents, punctuation and ideographs on their own.</summary>
    internal static List<string> Words(string text)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        foreach (var rune in Composition.Decompose(text.ToLowerInvariant()).EnumerateRunes())
        {
            var category = Rune.GetUnicodeCategory(rune);
            if (Rune.IsWhiteSpace(rune))
            {
                Finish();
            }
            else if (rune.Value is 0 or 0xFFFD || category is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned or UnicodeCategory.NonSpacingMark)
            {
                continue;
            }
            else if (IsPunctuation(rune, category) || IsIdeograph(rune.Value))
            {
                Finish();
                words.Add(rune.ToString());
            }
            else
            {
                word.Append(rune.ToString());
            }
        }

        Finish();
        return words;

        void Finish()
        {
            if (word.Length > 0) words.Add(word.ToString());
            word.Clear();
        }
    }

    private List<int> Pieces(string word)
    {
        if (word.EnumerateRunes().Count() > LongestWord) return [unknown];
        var pieces = new List<int>();
        for (int start = 0; start < word.Length;)
        {
            int stop = word.Length, found = -1;
            for (; stop > start; stop--)
                if (ids.TryGetValue(start > 0 ? Continues + word[start..stop] : word[..stop], out found)) break;
            if (stop == start) return [unknown];
            pieces.Add(found);
            start = stop;
        }

        return pieces;
    }

    // All of ASCII that is neither letter nor digit counts, such as $ and +.
    private static bool IsPunctuation(Rune rune, UnicodeCategory category) =>
        (rune.IsAscii && rune.Value is (>= 33 and <= 47) or (>= 58 and <= 64) or (>= 91 and <= 96) or (>= 123 and <= 126))
        || category is UnicodeCategory.ConnectorPunctuation or UnicodeCategory.DashPunctuation or UnicodeCategory.OpenPunctuation or UnicodeCategory.ClosePunctuation
            or UnicodeCategory.InitialQuotePunctuation or UnicodeCategory.FinalQuotePunctuation or UnicodeCategory.OtherPunctuation;

    private static bool IsIdeograph(int c) => c is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2B73F)
        or (>= 0x2B740 and <= 0x2B81F) or (>= 0x2B820 and <= 0x2CEAF) or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);
}
