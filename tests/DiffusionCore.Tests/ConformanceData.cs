namespace DiffusionCore.Tests;

/// <summary>Numbers that this project did not make: a folder beside the repository, or the one that DIFFUSIONCORE_CONFORMANCE names.</summary>
public static class ConformanceData
{
    public const string Variable = "DIFFUSIONCORE_CONFORMANCE";

    /// <summary>Null where there is none; tests that need it are then skipped.</summary>
    public static string? Folder { get; } = Find();

    public static string Reason => $"no conformance data: set {Variable} to its folder";

    public static string PathOf(params string[] parts) => Path.Combine([Folder!, .. parts]);

    private static string? Find()
    {
        string? given = Environment.GetEnvironmentVariable(Variable);
        if (!string.IsNullOrEmpty(given)) return Directory.Exists(given) ? given : null;
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "shared", "conformance");
            if (Directory.Exists(candidate)) return candidate;
        }

        return null;
    }
}

/// <summary>A fact that needs the conformance data.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ConformanceFactAttribute : FactAttribute
{
    public ConformanceFactAttribute()
    {
        if (ConformanceData.Folder is null) Skip = ConformanceData.Reason;
    }
}

/// <summary>A theory that needs the conformance data.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ConformanceTheoryAttribute : TheoryAttribute
{
    public ConformanceTheoryAttribute()
    {
        if (ConformanceData.Folder is null) Skip = ConformanceData.Reason;
    }
}
