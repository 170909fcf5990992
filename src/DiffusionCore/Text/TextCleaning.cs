using System.Text;

namespace DiffusionCore.Text;

/// <summary>
/// What CLIP does to a text before it cuts it into words: composed characters, HTML's references resolved (twice), white space collapsed,
/// lower case. Control characters vanish; half of a surrogate pair becomes U+FFFD.
/// </summary>
public static class TextCleaning
{
    private const char Sigma = '\u03A3', FinalSigma = '\u03C2', DottedI = '\u0130';

    public static string Clean(string text) => Lower(Collapse(HtmlEntities.Decode(HtmlEntities.Decode(Composition.Compose(WellFormed(text))))));

    private static string WellFormed(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
            if (!Rune.IsControl(rune) || Rune.IsWhiteSpace(rune)) result.Append(rune.ToString());
        return result.ToString();
    }

    private static string Collapse(string text)
    {
        var result = new StringBuilder(text.Length);
        bool space = false;
        foreach (char c in text)
        {
            if (char.IsWhiteSpace(c))
            {
                space = true;
                continue;
            }

            if (space && result.Length > 0) result.Append(' ');
            space = false;
            result.Append(c);
        }

        return result.ToString();
    }

    // By Unicode's rules for whole texts, which a culture's own lower case lacks: two letters do not map one to one.
    private static string Lower(string text)
    {
        string lower = text.ToLowerInvariant();
        if (lower.Length != text.Length || (!text.Contains(Sigma, StringComparison.Ordinal) && !text.Contains(DottedI, StringComparison.Ordinal))) return lower;
        var result = new StringBuilder(text.Length + 8);
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] == DottedI) result.Append("i\u0307");
            else if (text[i] == Sigma && i > 0 && char.IsLetter(text[i - 1]) && !(i + 1 < text.Length && char.IsLetter(text[i + 1]))) result.Append(FinalSigma);
            else result.Append(lower[i]);
        }

        return result.ToString();
    }
}
