using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Text;

/// <summary>A stretch of a prompt with one weight.</summary>
/// <param name="Break">The text before ends its chunk here; such a segment has no text.</param>
public readonly record struct PromptSegment(string Text, double Weight, bool Break = false);

/// <summary>
/// The prompt language of stable-diffusion-webui: (x) weighs 1.1, [x] 1/1.1, (x:1.3) what it says, brackets nest by multiplication and, left
/// open, reach to the end; a backslash makes the next bracket a letter; BREAK starts a new chunk.
/// </summary>
public static class PromptParser
{
    /// <summary>Open brackets at one place.</summary>
    public const int MaximumDepth = 100;

    /// <summary>Largest weight, up and down from zero.</summary>
    public const double MaximumWeight = 100;

    private const double Step = 1.1;
    private const string BreakWord = "BREAK";

    /// <summary>Neighbours of one weight are one segment. A prompt without text is one empty segment.</summary>
    /// <exception cref="UsageException">Brackets nest too deep or a weight is out of range.</exception>
    public static List<PromptSegment> Parse(string prompt)
    {
        var segments = new List<PromptSegment>();
        List<int> round = [], square = [];
        for (int i = 0; i < prompt.Length;)
        {
            char c = prompt[i];
            switch (c)
            {
                case '\\':
                    // Before a bracket or another backslash it is gone and they are letters; elsewhere it is just gone.
                    bool escapes = i + 1 < prompt.Length && prompt[i + 1] is '(' or ')' or '[' or ']' or '\\';
                    if (escapes) segments.Add(new(prompt[i + 1].ToString(), 1));
                    i += escapes ? 2 : 1;
                    break;
                case '(' or '[':
                    if (round.Count + square.Count == MaximumDepth) throw new UsageException($"the prompt nests more than {MaximumDepth} brackets at character {i + 1}; write \\{c} for a bracket that is text");
                    (c == '(' ? round : square).Add(segments.Count);
                    i++;
                    break;
                case ':' when round.Count > 0 && Weight(prompt.AsSpan(i), out int length) is { } weight:
                    Close(round, weight);
                    i += length;
                    break;
                case ')' when round.Count > 0:
                    Close(round, Step);
                    i++;
                    break;
                case ']' when square.Count > 0:
                    Close(square, 1 / Step);
                    i++;
                    break;
                default:
                    int end = prompt.AsSpan(i + 1).IndexOfAny(@"\()[]:");
                    end = end < 0 ? prompt.Length : i + 1 + end;
                    Add(prompt[i..end]);
                    i = end;
                    break;
            }
        }

        while (round.Count > 0) Close(round, Step);
        while (square.Count > 0) Close(square, 1 / Step);
        return Joined(segments);

        void Close(List<int> open, double factor)
        {
            for (int s = open[^1]; s < segments.Count; s++) segments[s] = segments[s] with { Weight = segments[s].Weight * factor };
            open.RemoveAt(open.Count - 1);
        }

        void Add(string text)
        {
            for (int at = FindBreak(text); at >= 0; at = FindBreak(text))
            {
                segments.Add(new(text[..at].TrimEnd(), 1));
                segments.Add(new("", 1, Break: true));
                text = text[(at + BreakWord.Length)..].TrimStart();
            }

            segments.Add(new(text, 1));
        }
    }

    private static List<PromptSegment> Joined(List<PromptSegment> segments)
    {
        var joined = new List<PromptSegment>();
        var text = new System.Text.StringBuilder();
        for (int i = 0; i < segments.Count;)
        {
            var first = segments[i++];
            if (first.Break)
            {
                joined.Add(first with { Weight = 1 });
                continue;
            }

            if (!(Math.Abs(first.Weight) <= MaximumWeight))
                throw new UsageException(string.Create(CultureInfo.InvariantCulture, $"the prompt gives '{Short(first.Text)}' the weight {first.Weight:G4}; expected at most {MaximumWeight}"));
            text.Clear().Append(first.Text);
            while (i < segments.Count && !segments[i].Break && segments[i].Weight == first.Weight) text.Append(segments[i++].Text);
            if (text.Length > 0) joined.Add(first with { Text = text.ToString() });
        }

        if (joined.Count == 0) joined.Add(new("", 1));
        return joined;
    }

    private static string Short(string text) => text.Length <= 40 ? text : text[..40] + "...";

    // ":1.3)" with spaces around the number; null where it is not that.
    private static double? Weight(ReadOnlySpan<char> text, out int length)
    {
        length = 0;
        int start = 1;
        while (start < text.Length && char.IsWhiteSpace(text[start])) start++;
        int end = start;
        while (end < text.Length && (char.IsAsciiDigit(text[end]) || text[end] == '.' || (end == start && text[end] is '+' or '-'))) end++;
        if (!double.TryParse(text[start..end], NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double weight)) return null;
        while (end < text.Length && char.IsWhiteSpace(text[end])) end++;
        if (end == text.Length || text[end] != ')') return null;
        length = end + 1;
        return weight;
    }

    private static int FindBreak(string text)
    {
        for (int at = text.IndexOf(BreakWord, StringComparison.Ordinal); at >= 0; at = text.IndexOf(BreakWord, at + 1, StringComparison.Ordinal))
        {
            int after = at + BreakWord.Length;
            if ((at == 0 || !InWord(text[at - 1])) && (after == text.Length || !InWord(text[after]))) return at;
        }

        return -1;
    }

    private static bool InWord(char c) => char.IsLetterOrDigit(c) || c == '_';
}
