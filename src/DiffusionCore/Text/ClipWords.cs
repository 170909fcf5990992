using System.Globalization;
using System.Text;

namespace DiffusionCore.Text;

/// <summary>
/// Cuts cleaned text into CLIP's words: the two special tokens, 's 't 're 've 'm 'll 'd, runs of letters, single digits, runs of anything
/// else but white space. In this order at every place; a run of anything else does not stop before an apostrophe or a special token.
/// </summary>
internal ref struct ClipWords(ReadOnlySpan<char> text, string start, string end)
{
    private static readonly string[] Contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private ReadOnlySpan<char> rest = text;

    private enum Kind
    {
        Space,
        Letter,
        Number,
        Other,
    }

    /// <summary>The next word; empty at the end.</summary>
    public ReadOnlySpan<char> Next()
    {
        while (rest.Length > 0)
        {
            var kind = KindOf(rest, out int length);
            if (kind == Kind.Space)
            {
                rest = rest[length..];
                continue;
            }

            if (Fixed() is var known and > 0) length = known;
            else if (kind != Kind.Number)
                while (length < rest.Length && KindOf(rest[length..], out int more) == kind) length += more;
            var word = rest[..length];
            rest = rest[length..];
            return word;
        }

        return default;
    }

    private readonly int Fixed()
    {
        if (start.Length > 0 && rest.StartsWith(start, StringComparison.OrdinalIgnoreCase)) return start.Length;
        if (end.Length > 0 && rest.StartsWith(end, StringComparison.OrdinalIgnoreCase)) return end.Length;
        if (rest[0] != '\'') return 0;
        foreach (string contraction in Contractions)
            if (rest.StartsWith(contraction, StringComparison.OrdinalIgnoreCase)) return contraction.Length;
        return 0;
    }

    private static Kind KindOf(ReadOnlySpan<char> text, out int length)
    {
        Rune.DecodeFromUtf16(text, out var rune, out length);
        if (Rune.IsWhiteSpace(rune)) return Kind.Space;
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
