using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>One logical set of tensors: a file, shards behind an index, or the weights of a model folder.</summary>
public sealed class Checkpoint : IDisposable
{
    private const string IndexSuffix = ".index.json";
    private static readonly string[] BaseNames = ["diffusion_pytorch_model", "model"];

    private readonly List<SafetensorsFile> files = [];
    private readonly Dictionary<string, (SafetensorsFile File, TensorEntry Entry)> tensors = new(StringComparer.Ordinal);

    private Checkpoint(string path) => Path = path;

    /// <summary>The file, the index, or the folder's weights file.</summary>
    public string Path { get; }

    public IReadOnlyList<SafetensorsFile> Files => files;

    public IEnumerable<string> Names => tensors.Keys;

    public int Count => tensors.Count;

    public IReadOnlyDictionary<string, string> Metadata => files.Count > 0 ? files[0].Metadata : new Dictionary<string, string>();

    /// <param name="fileOrFolder">A .safetensors file, an .index.json, or a folder that holds one of them under the usual names.</param>
    /// <param name="variant">As in model.fp16.safetensors; null for the plain file.</param>
    /// <exception cref="ModelFileException">There is none, or it is not sound.</exception>
    public static Checkpoint Open(string fileOrFolder, string? variant = null)
    {
        string path = Directory.Exists(fileOrFolder) ? InFolder(fileOrFolder, variant) : fileOrFolder;
        var checkpoint = new Checkpoint(path);
        try
        {
            if (path.EndsWith(IndexSuffix, StringComparison.Ordinal)) checkpoint.AddShards(path);
            else checkpoint.AddFile(path);
            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    public bool TryGet(string name, out TensorEntry entry)
    {
        bool found = tensors.TryGetValue(name, out var held);
        entry = found ? held.Entry : null!;
        return found;
    }

    /// <summary>The file that holds a tensor.</summary>
    public SafetensorsFile FileOf(string name) => tensors[name].File;

    public void Read(string name, Span<byte> dst)
    {
        var (file, entry) = tensors[name];
        file.Read(entry, dst);
    }

    public void Dispose()
    {
        foreach (var file in files) file.Dispose();
    }

    private static string InFolder(string folder, string? variant)
    {
        string infix = variant is null ? "" : "." + variant;
        foreach (string name in BaseNames)
        {
            // Sharded variants put the variant before the shard number and the index suffix.
            foreach (string candidate in new[] { $"{name}{infix}.safetensors", $"{name}.safetensors.index{infix}.json", $"{name}{infix}.safetensors.index.json" })
            {
                string path = System.IO.Path.Combine(folder, candidate);
                if (File.Exists(path)) return path;
            }
        }

        string[] others = Directory.GetFiles(folder).Where(f => f.EndsWith(".bin", StringComparison.Ordinal) || f.EndsWith(".ckpt", StringComparison.Ordinal) || f.EndsWith(".safetensors", StringComparison.Ordinal)).Select(f => System.IO.Path.GetFileName(f)!).Order(StringComparer.Ordinal).ToArray();
        if (variant is not null) throw new ModelFileException(folder, null, $"has no weights of the variant '{variant}'{(others.Length > 0 ? $"; found {string.Join(", ", others)}" : "")}");
        string? pickle = others.FirstOrDefault(f => !f.EndsWith(".safetensors", StringComparison.Ordinal));
        if (pickle is not null)
        {
            string path = System.IO.Path.Combine(folder, pickle);
            var head = new byte[512];
            using var stream = File.OpenRead(path);
            int got = stream.Read(head);
            throw new ModelFileException(path, null, FileKind.Sniff(head.AsSpan(0, got), path) ?? "is not safetensors");
        }

        throw new ModelFileException(
            folder, null, $"has no weights: expected {string.Join(" or ", BaseNames.Select(n => n + ".safetensors"))}{(others.Length > 0 ? $", found {string.Join(", ", others)}" : "")}");
    }

    private void AddFile(string path)
    {
        var file = SafetensorsFile.Open(path);
        files.Add(file);
        foreach (var (name, entry) in file.Tensors) tensors[name] = (file, entry);
    }

    private void AddShards(string index)
    {
        string folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(index))!;
        var map = ConfigFile.Load(index).GetStringMap("weight_map");
        var shards = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        foreach (var (tensor, shard) in map)
        {
            if (shard.Length == 0 || shard != System.IO.Path.GetFileName(shard) || shard is "." or ".." || shard.Contains('\\'))
                throw new ModelFileException(index, tensor, $"names the shard '{shard}', which is not a plain file name");
            if (!shards.TryGetValue(shard, out var file))
            {
                string path = System.IO.Path.Combine(folder, shard);
                if (!File.Exists(path)) throw new ModelFileException(index, tensor, $"is in the shard '{shard}', which is missing");
                files.Add(file = shards[shard] = SafetensorsFile.Open(path));
            }

            if (!file.Tensors.TryGetValue(tensor, out var entry)) throw new ModelFileException(index, tensor, $"is not in the shard '{shard}' that the index names");
            tensors[tensor] = (file, entry);
        }

        foreach (var (shard, file) in shards)
        {
            foreach (string name in file.Tensors.Keys)
            {
                if (map.TryGetValue(name, out string? owner) && owner != shard) throw new ModelFileException(index, name, $"is in two shards, '{owner}' and '{shard}'");
            }
        }
    }
}
