using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Weights;

namespace DiffusionCore.Pipelines;

/// <summary>A diffusers model folder: model_index.json, a network, a scheduler; or a network's folder alone.</summary>
public sealed class ModelFolder : IDisposable
{
    private const string IndexName = "model_index.json";

    private ModelFolder(string path, Component network, SchedulerConfig scheduler, ClassNames? classes)
    {
        Path = path;
        Network = network;
        Scheduler = scheduler;
        Classes = classes;
    }

    public string Path { get; }

    /// <summary>The folder's own name, for people.</summary>
    public string Name => System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(Path)));

    public Component Network { get; }

    public UNet2DModel UNet => (UNet2DModel)Network.Network;

    public SchedulerConfig Scheduler { get; }

    /// <summary>Null where the network is not conditioned on classes.</summary>
    public ClassNames? Classes { get; }

    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    public static ModelFolder Load(string path, string? variant = null, bool checkFinite = false)
    {
        if (File.Exists(path)) throw new ModelFileException(path, null, KindOf(path) ?? "is a single file; this version generates from model folders (model_index.json beside unet/ and scheduler/)");
        if (!Directory.Exists(path)) throw new ModelFileException(path, null, "there is no such model folder");
        string index = System.IO.Path.Combine(path, IndexName);
        string networkFolder = path;
        var scheduler = new SchedulerConfig { ClipSample = true };
        if (File.Exists(index))
        {
            var f = ConfigFile.Load(index);
            f.GetWord("_class_name", null, "DDPMPipeline", "DDIMPipeline");
            networkFolder = ComponentFolder.Of(path, "unet");
            string schedulerFolder = ComponentFolder.Of(path, "scheduler"), configPath = System.IO.Path.Combine(schedulerFolder, "scheduler_config.json");
            if (!File.Exists(configPath)) throw new ModelFileException(schedulerFolder, null, "has no scheduler_config.json");
            scheduler = SchedulerConfig.Read(ConfigFile.Load(configPath));
        }
        else if (!File.Exists(System.IO.Path.Combine(path, "config.json")))
        {
            throw new ModelFileException(path, null, $"has neither {IndexName} nor config.json; expected a diffusers model folder");
        }

        var component = Component.Load(networkFolder, variant);
        try
        {
            if (component.Network is not UNet2DModel unet) throw new ModelFileException(path, "_class_name", $"{component.Config.ClassName} does not generate images; expected a UNet2DModel");
            if (checkFinite) FiniteCheck.Run(component.Checkpoint);
            ClassNames? classes = unet.Config.ClassEmbedding == ClassEmbeddingKind.Table ? ClassNames.Load(path, unet.Config.NumClassEmbeds!.Value) : null;
            return new ModelFolder(path, component, scheduler, classes);
        }
        catch
        {
            component.Dispose();
            throw;
        }
    }

    public void Dispose() => Network.Dispose();

    private static string? KindOf(string path)
    {
        if (new FileInfo(path).Length == 0) return "is empty, or is not a regular file";      // not opened: a named pipe would wait
        using var stream = File.OpenRead(path);
        var head = new byte[512];
        int got = stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        return FileKind.Sniff(head.AsSpan(0, got), path);
    }
}

/// <summary>Names of a network's classes.</summary>
/// <param name="Names">By number.</param>
/// <param name="NullClass">The class that stands for none; null where the network was trained without one.</param>
public sealed record ClassNames(IReadOnlyList<string> Names, int? NullClass)
{
    private const string FileName = "classes.json";

    internal static ClassNames Load(string folder, int count)
    {
        string path = System.IO.Path.Combine(folder, FileName);
        if (!File.Exists(path)) return new ClassNames([.. Enumerable.Range(0, count).Select(i => i.ToString(System.Globalization.CultureInfo.InvariantCulture))], null);
        var f = ConfigFile.Load(path);
        string[] names = f.GetOptionalStrings("classes") ?? throw new ModelFileException(path, "classes", "expected an array of names, found nothing");
        int? none = f.GetOptionalInt("null_class", 0, count - 1);
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
