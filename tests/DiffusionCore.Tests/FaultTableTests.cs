using System.Text.RegularExpressions;

namespace DiffusionCore.Tests;

/// <summary>The table of bad inputs and faults in tests/README.md: every test that it names is there.</summary>
public partial class FaultTableTests
{
    private static readonly string Folder = Path.Combine(Root(), "tests");

    private static readonly Lazy<Dictionary<string, string>> Sources = new(() =>
    {
        var sources = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string file in Directory.GetFiles(Folder, "*Tests*.cs", SearchOption.AllDirectories).Where(f => !f.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal)))
        {
            string text = File.ReadAllText(file);
            foreach (Match m in Class().Matches(text)) sources[m.Groups[1].Value] = sources.GetValueOrDefault(m.Groups[1].Value, "") + text;
        }

        return sources;
    });

    public static TheoryData<string, string> Rows()
    {
        var rows = new TheoryData<string, string>();
        foreach (string line in File.ReadAllLines(Path.Combine(Folder, "README.md")))
        {
            string[] cells = line.Split('|');
            if (cells.Length == 5 && cells[2].TrimStart().StartsWith('`')) rows.Add(cells[1].Trim(), cells[2].Trim());
        }

        return rows;
    }

    [Theory]
    [MemberData(nameof(Rows))]
    public void A_row_names_tests_that_exist(string what, string tests)
    {
        var names = Name().Matches(tests);
        Assert.True(names.Count > 0 && names.Count == tests.Count(c => c == '`') / 2, $"{what}: a name that is neither Class.Method nor Class[\"case\"]");
        foreach (Match m in names)
        {
            Assert.True(Sources.Value.TryGetValue(m.Groups[1].Value, out string? source), $"there is no class {m.Groups[1].Value}");
            string wanted = m.Groups[2].Success ? $" {m.Groups[2].Value}(" : $"        [{m.Groups[3].Value}] = (";
            Assert.True(source.Contains(wanted, StringComparison.Ordinal), $"{m.Groups[1].Value} has no '{wanted.Trim()}'");
        }
    }

    [Fact]
    public void The_table_is_read() => Assert.True(Rows().Count() > 80, $"{Rows().Count()} rows");

    private static string Root()
    {
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
            if (File.Exists(Path.Combine(at.FullName, "DiffusionCore.sln"))) return at.FullName;
        throw new DirectoryNotFoundException("DiffusionCore.sln");
    }

    [GeneratedRegex(@"class (\w+Tests)\b")]
    private static partial Regex Class();

    [GeneratedRegex("""`(\w+Tests)(?:\.(\w+)|\[(".*?")\])`""")]
    private static partial Regex Name();
}
