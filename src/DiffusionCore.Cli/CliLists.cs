using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Lists of numbers on the command line.</summary>
internal static class CliLists
{
    /// <summary>Numbers by commas; null for none.</summary>
    /// <exception cref="UsageException">A part that is not a finite number.</exception>
    public static double[]? Numbers(string? text, string option)
    {
        if (text is null) return null;
        string[] parts = text.Split(',', StringSplitOptions.TrimEntries);
        var values = new double[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!double.TryParse(parts[i], NumberStyles.Float, CultureInfo.InvariantCulture, out values[i]) || !double.IsFinite(values[i]))
                throw new UsageException($"{option}: expected numbers by commas, found '{parts[i]}' at place {i + 1}");
        }

        return values;
    }
}
