namespace DiffusionCore;

/// <summary>"Did you mean": the nearest of the known names.</summary>
public static class Suggestion
{
    /// <summary>The name with the fewest edits, letter case aside; null where none is near.</summary>
    public static string? Nearest(string given, IEnumerable<string> known)
    {
        string? best = null;
        int least = Math.Max(2, given.Length / 3) + 1;
        foreach (string name in known)
        {
            int edits = Distance(given.ToLowerInvariant(), name.ToLowerInvariant(), least);
            if (edits >= least) continue;
            least = edits;
            best = name;
        }

        return best;
    }

    /// <summary>" (did you mean 'x'?)", or the known names where none is near.</summary>
    public static string Hint(string given, IReadOnlyCollection<string> known) =>
        Nearest(given, known) is { } near ? $"; did you mean '{near}'?" : $"; known: {string.Join(", ", known)}";

    private static int Distance(string a, string b, int limit)
    {
        if (Math.Abs(a.Length - b.Length) >= limit || a.Length > 200) return limit;
        var row = new int[b.Length + 1];
        for (int j = 0; j <= b.Length; j++) row[j] = j;
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int cost = Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = row[j];
                row[j] = cost;
            }
        }

        return row[^1];
    }
}
