using System.Globalization;
using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>Names of a network's classes.</summary>
/// <param name="Names">By number. A name may be several with commas between them, as ImageNet's are.</param>
/// <param name="NullClass">The class that stands for none; null where the network was trained without one.</param>
public sealed record ClassNames(IReadOnlyList<string> Names, int? NullClass)
{
    private const int ShownNames = 40;
    private const string FileName = "classes.json", IndexField = "id2label";

    /// <summary>Names of classes.json; else those that the pipeline's model_index.json has by number (id2label); else the numbers.</summary>
    /// <param name="nullClass">The class that stands for none where the folder does not name one.</param>
    /// <exception cref="ModelFileException">A file is not what it should be.</exception>
    internal static ClassNames Load(string folder, int count, int? nullClass = null, ConfigFile? index = null)
    {
        string path = System.IO.Path.Combine(folder, FileName);
        if (!File.Exists(path)) return new ClassNames(Labels(count, index), nullClass);
        var f = ConfigFile.Load(path);
        string[] names = f.GetOptionalStrings("classes") ?? throw new ModelFileException(path, "classes", "expected an array of names, found nothing");
        int? none = f.GetOptionalInt("null_class", 0, nullClass ?? count - 1) ?? nullClass;
        if (names.Length > count) throw new ModelFileException(path, "classes", $"{names.Length} names for an embedding of {count} classes");
        return new ClassNames(names, none);
    }

    /// <summary>The number of a class given by name, by one of its names, or by number.</summary>
    /// <exception cref="UsageException">There is no such class, or several have the name.</exception>
    public int Find(string given)
    {
        int[] found = [.. Enumerable.Range(0, Names.Count).Where(i => Names[i].Equals(given, StringComparison.OrdinalIgnoreCase))];
        if (found.Length == 0) found = [.. Enumerable.Range(0, Names.Count).Where(i => Synonyms(Names[i]).Contains(given, StringComparer.OrdinalIgnoreCase))];
        if (found.Length == 1) return found[0];
        if (found.Length > 1) throw new UsageException($"class '{given}' is the name of {string.Join(" and ", found)}; give the number");
        if (int.TryParse(given, out int n))
        {
            if (n >= 0 && n < Names.Count) return n;
            if (n == NullClass) return n;
        }

        string[] known = [.. Names.SelectMany(Synonyms)];
        string hint = known.Length <= ShownNames ? Suggestion.Hint(given, known) : Suggestion.Nearest(given, known) is { } near ? $"; did you mean '{near}'?" : $"; there are {Names.Count}, by name or number";
        throw new UsageException($"class '{given}' is unknown{hint}");
    }

    /// <summary>Names of classes that have none.</summary>
    internal static string[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(i => i.ToString(CultureInfo.InvariantCulture))];

    private static string[] Synonyms(string name) => name.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static string[] Labels(int count, ConfigFile? index)
    {
        string[] names = Numbers(count);
        if (index?.GetOptionalObject(IndexField) is not { } labels) return names;
        foreach (var p in labels.Root.EnumerateObject())
        {
            if (!int.TryParse(p.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int id) || id >= count) throw new ModelFileException(index.Path, $"{IndexField}.{p.Name}", $"expected a class number from 0 to {count - 1}");
            if (p.Value.ValueKind != JsonValueKind.String || p.Value.GetString() is not { Length: > 0 } name) throw new ModelFileException(index.Path, $"{IndexField}.{p.Name}", "expected a name");
            names[id] = name;
        }

        return names;
    }
}
