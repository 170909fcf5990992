namespace DiffusionCore.Tests;

/// <summary>Trained models from outside, in a folder beside the conformance data.</summary>
public static class RealModels
{
    /// <summary>The folder of one model; null where it is absent.</summary>
    public static string? Folder(string name)
    {
        if (ConformanceData.Folder is null) return null;
        string path = Path.GetFullPath(Path.Combine(ConformanceData.Folder, "..", "real", name));
        return Directory.Exists(path) ? path : null;
    }
}

/// <summary>A fact that needs a trained model from outside.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RealModelFactAttribute : FactAttribute
{
    public RealModelFactAttribute(string name)
    {
        Name = name;
        if (RealModels.Folder(name) is null) Skip = $"the trained model '{name}' is not here";
    }

    public string Name { get; }
}
