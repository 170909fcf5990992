using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>Names of a network's classes.</summary>
/// <param name="Names">By number.</param>
/// <param name="NullClass">The class that stands for none; null where the network was trained without one.</param>
public sealed record ClassNames(IReadOnlyList<string> Names, int? NullClass)
{
    private const string FileName = "classes.json";

    /// <param name="nullClass">The class that stands for none where the folder does not name one.</param>
    internal static ClassNames Load(string folder, int count, int? nullClass = null)
    {
        string path = System.IO.Path.Combine(folder, FileName);
        if (!File.Exists(path)) return new ClassNames([.. Enumerable.Range(0, count).Select(i => i.ToString(System.Globalization.CultureInfo.InvariantCulture))], nullClass);
        var f = ConfigFile.Load(path);
        string[] names = f.GetOptionalStrings("classes") ?? throw new ModelFileException(path, "classes", "expected an array of names, found nothing");
        int? none = f.GetOptionalInt("null_class", 0, nullClass ?? count - 1) ?? nullClass;
        if (names.Length > count) throw new ModelFileException(path, "classes", $"{names.Length} names for an embedding of {count} classes");
        return new ClassNames(names, none);
    }

    /// <summary>The number of a class given by name or number.</summary>
    /// <exception cref="UsageException">There is no such class.</exception>
    public int Find(string given)
    {
        for (int i = 0; i < Names.Count; i++)
            if (Names[i].Equals(given, StringComparison.OrdinalIgnoreCase)) return i;
        if (int.TryParse(given, out int n))
        {
            if (n >= 0 && n < Names.Count) return n;
            if (n == NullClass) return n;
        }

        throw new UsageException($"class '{given}' is unknown{Suggestion.Hint(given, [.. Names])}");
    }
}
