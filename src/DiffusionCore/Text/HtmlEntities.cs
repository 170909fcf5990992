using System.Buffers;
using System.Globalization;
using System.Net;
using System.Text;

namespace DiffusionCore.Text;

/// <summary>
/// Character references as HTML 5 reads them in text: &#38;#65; &#38;#x41; &#38;amp; and, for the names of Latin-1 alone, without the semicolon (&#38;amp).
/// CLIP's captions came from the web. Known are the 252 names of HTML 4; the other names of HTML 5 are left as they stand.
/// </summary>
internal static class HtmlEntities
{
    // Longest name that HTML has; what is longer is none.
    private const int MaximumName = 32;

    private static readonly SearchValues<char> EndsName = SearchValues.Create("\t\n\f <&#;");

    // What browsers read for the numbers that Windows-1252 used for printable characters; zero where it has none.
    private const string Windows1252 = "\u20AC\u0081\u201A\u0192\u201E\u2026\u2020\u2021\u02C6\u2030\u0160\u2039\u0152\u008D\u017D\u008F\u0090\u2018\u2019\u201C\u201D\u2022\u2013\u2014\u02DC\u2122\u0161\u203A\u0153\u009D\u017E\u0178";

    private static readonly string[] Capitals = ["AMP", "LT", "GT", "QUOT", "COPY", "REG"];

    public static string Decode(string text)
    {
        int at = text.IndexOf('&', StringComparison.Ordinal);
        if (at < 0) return text;
        var result = new StringBuilder(text.Length);
        int copied = 0;
        for (; at >= 0; at = text.IndexOf('&', at))
        {
            if (Reference(text.AsSpan(at), out int length) is { } value)
            {
                result.Append(text, copied, at - copied).Append(value);
                at += length;
                copied = at;
            }
            else
            {
                at++;
            }
        }

        return result.Append(text, copied, text.Length - copied).ToString();
    }

    private static string? Reference(ReadOnlySpan<char> text, out int length)
    {
        length = 0;
        if (text.Length < 2) return null;
        if (text[1] == '#') return Number(text, out length);
        var name = text[1..Math.Min(text.Length, MaximumName + 2)];
        int end = name.IndexOfAny(EndsName);
        bool closed = end >= 0 && name[end] == ';';
        if (end >= 0) name = name[..end];
        if (closed && Named(name) is { } value)
        {
            length = name.Length + 2;
            return value;
        }

        for (int n = name.Length; n >= 2; n--)
        {
            if (Named(name[..n]) is not { } open || !MayStandOpen(open)) continue;
            length = n + 1;
            return open;
        }

        return null;
    }

    private static string? Named(ReadOnlySpan<char> name)
    {
        foreach (string capital in Capitals)
            if (name.SequenceEqual(capital)) return Named(capital.ToLowerInvariant());
        foreach (char c in name)
            if (!char.IsAsciiLetterOrDigit(c)) return null;
        if (name.SequenceEqual("apos")) return "'";
        string reference = $"&{name};";
        string value = WebUtility.HtmlDecode(reference);
        return value != reference ? value : null;
    }

    // The names that browsers knew before HTML 4: the ASCII ones but &apos;, and those of Latin-1.
    private static bool MayStandOpen(string value) => value[0] is '&' or '<' or '>' or '"' or >= '\u00A0' and <= '\u00FF';

    private static string? Number(ReadOnlySpan<char> text, out int length)
    {
        length = 0;
        bool hexadecimal = text.Length > 2 && text[2] is 'x' or 'X';
        int start = hexadecimal ? 3 : 2, end = start;
        while (end < text.Length && (hexadecimal ? char.IsAsciiHexDigit(text[end]) : char.IsAsciiDigit(text[end]))) end++;
        if (end == start) return null;
        length = end < text.Length && text[end] == ';' ? end + 1 : end;
        var digits = text[start..end].TrimStart('0');
        int code = digits.Length == 0 ? 0
            : digits.Length > 7 ? int.MaxValue
            : int.Parse(digits, hexadecimal ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture);
        if (code is >= 0x80 and <= 0x9F) return Windows1252[code - 0x80].ToString();
        if (code == 0 || !Rune.IsValid(code)) return "\uFFFD";
        bool none = code is (>= 0x1 and <= 0x8) or 0xB or (>= 0xE and <= 0x1F) or 0x7F or (>= 0xFDD0 and <= 0xFDEF) || (code & 0xFFFE) == 0xFFFE;
        return none ? "" : new Rune(code).ToString();
    }
}
