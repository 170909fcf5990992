using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Finds the models that come with the program, from wherever it is run.</summary>
internal static class ModelLocator
{
    public const string DefaultModel = "fashion-ddpm-32";
    public const string Classifier = "fashion-classifier";
    private const string Variable = "DCORE_WEIGHTS";
    private const string Folder = "weights";

    /// <summary>The given folder, or the bundled model.</summary>
    public static string Resolve(string? given) => given is "" ? throw new UsageException("the name of the model is empty") : given ?? Bundled(DefaultModel);

    /// <exception cref="ModelFileException">It is not there.</exception>
    public static string Bundled(string name)
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } set)
        {
            string path = Path.Combine(set, name);
            return Directory.Exists(path) ? path : throw new ModelFileException(path, null, $"there is no such folder; {Variable} names its parent");
        }

        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            string path = Path.Combine(at.FullName, Folder, name);
            if (File.Exists(Path.Combine(path, "model_index.json")) || File.Exists(Path.Combine(path, "config.json"))) return path;
        }

        throw new ModelFileException(name, null, $"the bundled model is not beside the program ({Path.Combine(AppContext.BaseDirectory, Folder)}); give --model FOLDER or set {Variable}");
    }
}
