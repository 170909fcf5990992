using System.Globalization;
using System.Text;

namespace DiffusionCore.Fuzz;

/// <summary>Damage to JSON text at the places that parsers care about: numbers, strings, keys, nesting.</summary>
public static class JsonMutator
{
    private static readonly string[] Numbers =
    [
        "0", "-0", "1", "-1", "2", "7", "8", "16", "01", "1.0", "1e0", "0.5", "-0.5", "1e-400", "1e999", "-1e999", "NaN", "Infinity", "2147483647", "2147483648", "-2147483649", "4294967296", "9007199254740993",
        "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1e18", "1000000000", "0x10", "+1", ".5", "5.", "1_000",
    ];

    private static readonly string[] Strings =
    [
        "", "a", "A", "\\u0000", "\\ud800", "\\udc00x", "\\ud83d\\udc08", "猫", "🐈", "é", "e\\u0301", "\\u202e", "\\n", "\\x", "\\", "\u0001", "../..", "/etc/passwd", "inf", "NaN", "-inf", "null", "true", "3", "__metadata__", "F32", "f32",
    ];

    private static readonly string[] Values = ["null", "true", "false", "[]", "{}", "\"\"", "[null]", "[[]]", "{\"a\":1}", "[1,2]", "\"x\"", "0"];

    /// <summary>Half of the inputs keep the text's grammar; the rest are damaged as bytes too.</summary>
    public static byte[] Damage(string text, Draw draw)
    {
        int places = draw.Between(0, 3);
        for (int i = 0; i < places; i++) text = Once(text, draw);
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        if (draw.OneIn(40)) bytes = [0xEF, 0xBB, 0xBF, .. bytes];
        return draw.OneIn(4) ? ByteMutator.Damage(bytes, draw) : bytes;
    }

    private static string Once(string text, Draw draw)
    {
        var tokens = Tokens(text);
        if (tokens.Count == 0) return text;
        var (start, end) = draw.Of(tokens);
        string token = text[start..end], before = text[..start], after = text[end..];
        bool isString = token[0] == '"', isNumber = char.IsAsciiDigit(token[0]) || token[0] == '-';
        switch (draw.Below(10))
        {
            case 0 or 1 when isNumber:
                return before + Number(draw) + after;
            case 2 or 3 when isString:
                return before + '"' + draw.Of(Strings) + '"' + after;
            case 4:
                return before + draw.Of(Values) + after;
            case 5:
                {
                    int depth = draw.OneIn(50) ? 5000 : draw.Between(1, 140);
                    bool objects = draw.OneIn(2);
                    return before + string.Concat(Enumerable.Repeat(objects ? "{\"a\":" : "[", depth)) + token + new string(objects ? '}' : ']', draw.OneIn(4) ? depth - 1 : depth) + after;
                }

            case 6:
                {
                    // A key and its value once more, as it is or with an escaped letter.
                    int close = Member(text, start);
                    if (!isString || close < 0) return before + token + "," + token + after;
                    string member = text[start..close], copy = draw.OneIn(2) || member.Length < 3 ? member : string.Create(CultureInfo.InvariantCulture, $"\"\\u{(int)member[1]:x4}{member[2..]}");
                    return before + copy + "," + member + text[close..];
                }

            case 7:
                {
                    int close = Member(text, start);
                    if (!isString || close < 0) return before + after;
                    return before + text[close..].TrimStart(',', ' ');
                }

            case 8:
                {
                    var (otherStart, otherEnd) = draw.Of(tokens);
                    return before + text[otherStart..otherEnd] + after;
                }

            default:
                return before + new string(draw.Of([' ', '\n', '\t', '\r', '\0', '\u00a0']), draw.Between(1, 40)) + token + after;
        }
    }

    private static string Number(Draw draw) => draw.Below(8) switch
    {
        0 => new string('9', draw.Between(1, 400)),
        1 => ByteMutator.Number(draw).ToString(CultureInfo.InvariantCulture),
        2 => (-(double)ByteMutator.Number(draw)).ToString("R", CultureInfo.InvariantCulture),
        3 => BitConverter.UInt64BitsToDouble(draw.Bits()).ToString("R", CultureInfo.InvariantCulture),
        _ => draw.Of(Numbers),
    };

    // Strings, numbers and words, of sound text and of text that is damaged already.
    private static List<(int Start, int End)> Tokens(string text)
    {
        var tokens = new List<(int, int)>();
        for (int i = 0; i < text.Length;)
        {
            int start = i;
            if (text[i] == '"')
            {
                for (i++; i < text.Length && text[i] != '"'; i++)
                    if (text[i] == '\\') i++;
                i = Math.Min(text.Length, i + 1);
                tokens.Add((start, i));
            }
            else if (char.IsAsciiLetterOrDigit(text[i]) || text[i] == '-')
            {
                while (i < text.Length && (char.IsAsciiLetterOrDigit(text[i]) || text[i] is '-' or '+' or '.')) i++;
                tokens.Add((start, i));
            }
            else
            {
                i++;
            }
        }

        return tokens;
    }

    // The end of "key": value; negative where no value follows.
    private static int Member(string text, int start)
    {
        int depth = 0;
        bool inside = false, colon = false;
        for (int i = start; i < text.Length; i++)
        {
            char c = text[i];
            if (inside)
            {
                if (c == '\\') i++;
                else if (c == '"') inside = false;
                continue;
            }

            if (c == '"') inside = true;
            else if (c == ':') colon = true;
            else if (c is '{' or '[') depth++;
            else if (c is '}' or ']' && --depth < 0) return colon ? i : -1;
            else if (c == ',' && depth == 0) return colon ? i : -1;
        }

        return -1;
    }
}
