namespace DiffusionCore.Kernels.Tests;

/// <summary>Finds the folder of conformance data, which is not part of the repository.</summary>
internal static class Conformance
{
    public static string? Folder { get; } = Find();

    private static string? Find()
    {
        string? named = Environment.GetEnvironmentVariable("DIFFUSIONCORE_CONFORMANCE");
        if (!string.IsNullOrEmpty(named)) return Directory.Exists(named) ? named : null;
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            string candidate = Path.Combine(at.FullName, "shared", "conformance");
            if (Directory.Exists(candidate)) return candidate;
        }

        return null;
    }
}

/// <summary>A test of conformance data; skipped, visibly, where the file is absent.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ConformanceFactAttribute : FactAttribute
{
    public ConformanceFactAttribute(string file)
    {
        if (Conformance.Folder is not { } folder || !File.Exists(Path.Combine(folder, file))) Skip = $"conformance data {file} not found (DIFFUSIONCORE_CONFORMANCE)";
    }
}
