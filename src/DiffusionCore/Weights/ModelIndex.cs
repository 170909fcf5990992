using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>A component that a model folder names.</summary>
/// <param name="Name">Its folder.</param>
/// <param name="Library">diffusers, transformers, or a module of a pipeline's own.</param>
public sealed record ModelComponent(string Name, string Library, string Class);

/// <summary>
/// model_index.json of a diffusers model folder: the pipeline's class, its components as "name": [library, class], and settings.
/// A component written as [null, null] is one that the model does without.
/// </summary>
public sealed class ModelIndex
{
    public const string FileName = "model_index.json";

    private readonly Dictionary<string, ModelComponent?> components;

    private ModelIndex(string folder, ConfigFile config, Dictionary<string, ModelComponent?> components)
    {
        Folder = folder;
        Config = config;
        this.components = components;
    }

    public string Folder { get; }

    /// <summary>The file itself, for settings such as force_zeros_for_empty_prompt.</summary>
    public ConfigFile Config { get; }

    /// <summary>The pipeline's class.</summary>
    public string ClassName => Config.ClassName;

    /// <summary>Those that the model has.</summary>
    public IEnumerable<ModelComponent> Components => components.Values.OfType<ModelComponent>();

    public static bool IsIn(string folder) => File.Exists(Path.Combine(folder, FileName));

    /// <exception cref="ModelFileException">There is no such file, or it is not what it should be.</exception>
    public static ModelIndex Load(string folder)
    {
        if (!Directory.Exists(folder)) throw new ModelFileException(folder, null, File.Exists(folder) ? "is a file; expected a model folder" : "there is no such model folder");
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path)) throw new ModelFileException(folder, null, $"has no {FileName}; expected a diffusers model folder");
        var config = ConfigFile.Load(path);
        config.GetString("_class_name", null);
        var components = new Dictionary<string, ModelComponent?>(StringComparer.Ordinal);
        foreach (var p in config.Root.EnumerateObject())
        {
            // What starts with an underscore describes the file; what is no pair is a setting of the pipeline.
            if (p.Name.StartsWith('_') || p.Value.ValueKind != JsonValueKind.Array || p.Value.GetArrayLength() != 2) continue;
            components.Add(p.Name, (p.Value[0].ValueKind, p.Value[1].ValueKind) switch
            {
                (JsonValueKind.String, JsonValueKind.String) => new ModelComponent(p.Name, p.Value[0].GetString()!, p.Value[1].GetString()!),
                (JsonValueKind.Null, JsonValueKind.Null) => null,
                _ => throw new ModelFileException(path, p.Name, $"expected [library, class] or [null, null], found {(p.Value.GetRawText() is { Length: <= 60 } text ? text : "something else")}"),
            });
        }

        return new ModelIndex(folder, config, components);
    }

    /// <summary>Null where the model does without it.</summary>
    public ModelComponent? Find(string name) => components.GetValueOrDefault(name);

    /// <exception cref="ModelFileException">The model has no such component.</exception>
    public ModelComponent Get(string name) => Find(name)
        ?? throw new ModelFileException(Config.Path, name, $"expected [library, class], found {(Config.HasKey(name) ? "null" : "nothing")}; the model has {string.Join(", ", Components.Select(c => c.Name))}");

    /// <summary>The component's folder, inside the model also after links are followed.</summary>
    /// <exception cref="ModelFileException">The model has no such component, or its folder is missing.</exception>
    public string FolderOf(string name) => ComponentFolder.Of(Folder, Get(name).Name);
}
