using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Shortcuts;

/// <summary>NAME=VALUE pairs of one option, with commas between them.</summary>
internal sealed class OptionPairs
{
    private readonly string option;
    private readonly Dictionary<string, string> values = new(StringComparer.Ordinal);

    /// <exception cref="UsageException">A part that is no pair, an unknown name, or one that stands twice.</exception>
    public OptionPairs(string option, string text, params string[] names)
    {
        this.option = option;
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? part : part[..equals];
            if (!names.Contains(name)) throw new UsageException($"{option}: expected NAME=VALUE pairs of {string.Join(", ", names)}, found '{part}'{Suggestion.Hint(name, names)}");
            if (equals < 0) throw new UsageException($"{option}: expected {name}=VALUE, found '{part}'");
            if (!values.TryAdd(name, part[(equals + 1)..])) throw new UsageException($"{option}: {name} stands twice");
        }
    }

    public int Whole(string name, int? fallback, int minimum, int maximum) =>
        Given(name, fallback is not null) is { } text ? ParseWhole(name, text, minimum, maximum) : fallback!.Value;

    public double Real(string name, double? fallback, double minimum, double maximum)
    {
        if (Given(name, fallback is not null) is not { } text) return fallback!.Value;
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double v) && v >= minimum && v <= maximum
            ? v
            : throw new UsageException(FormattableString.Invariant($"{option}: {name}: expected a number from {minimum} to {maximum}, found '{text}'"));
    }

    public string Word(string name, string fallback, params string[] words)
    {
        string text = Given(name, true) ?? fallback;
        return words.Contains(text) ? text : throw new UsageException($"{option}: {name}: expected {string.Join(" or ", words)}, found '{text}'");
    }

    /// <summary>Numbers with plus signs between them, rising, each once.</summary>
    public int[] WholeList(string name, string fallback, int minimum, int maximum) =>
        [.. (Given(name, true) ?? fallback).Split('+').Select(t => ParseWhole(name, t, minimum, maximum)).Distinct().Order()];

    private string? Given(string name, bool optional) =>
        values.TryGetValue(name, out string? text) ? text : optional ? null : throw new UsageException($"{option}: {name}=VALUE is missing");

    private int ParseWhole(string name, string text, int minimum, int maximum) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int n) && n >= minimum && n <= maximum
            ? n
            : throw new UsageException($"{option}: {name}: expected a whole number from {minimum} to {maximum}, found '{text}'");
}
