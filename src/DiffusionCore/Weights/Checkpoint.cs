using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>One logical set of tensors: a file, shards behind an index, or the weights of a model folder.</summary>
public sealed class Checkpoint : IDisposable
{
    private static readonly string[] BaseNames = ["diffusion_pytorch_model", "model"];

    private readonly List<SafetensorsFile> files = [];
    private readonly Dictionary<string, (SafetensorsFile File, TensorEntry Entry, bool Transposed)> tensors = new(StringComparer.Ordinal);
    private bool borrowed;

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
            // The variant of an index may stand before .json: model.safetensors.index.fp16.json.
            if (path.EndsWith(".json", StringComparison.OrdinalIgnoreCase)) checkpoint.AddShards(path);
            else checkpoint.AddFile(path);
            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>A set of nothing.</summary>
    internal static Checkpoint Empty() => new("");

    /// <summary>
    /// Tensors of another set under other names, cut or turned; nothing is copied, and nothing of the other set is closed with this one.
    /// </summary>
    /// <exception cref="ModelFileException">A tensor is not there, or does not divide as asked.</exception>
    public static Checkpoint View(Checkpoint source, IEnumerable<TensorView> views)
    {
        var view = new Checkpoint(source.Path) { borrowed = true };
        view.files.AddRange(source.files);
        foreach (var v in views)
        {
            if (!source.tensors.TryGetValue(v.Key, out var held)) throw new ModelFileException(source.Path, v.Key, "is missing");
            if (!view.tensors.TryAdd(v.Name, (held.File, v.Of(held.Entry, held.File.Path), v.Transposed))) throw new ModelFileException(source.Path, v.Key, $"is a second '{v.Name}'");
        }

        return view;
    }

    public bool TryGet(string name, out TensorEntry entry)
    {
        bool found = tensors.TryGetValue(name, out var held);
        entry = found ? held.Entry : null!;
        return found;
    }

    /// <summary>What is added to tensors as they are read; null for nothing.</summary>
    public LoraMerge? Merge { get; set; }

    /// <summary>The file that holds a tensor.</summary>
    public SafetensorsFile FileOf(string name) => tensors[name].File;

    public void Read(string name, Span<byte> dst)
    {
        var (file, entry, transposed) = tensors[name];
        if (transposed)
        {
            var stored = new byte[entry.Bytes];
            file.Read(entry, stored);
            TensorView.Transpose(stored, entry.Dims, entry.Type.Bits() / 8, dst);
        }
        else
        {
            file.Read(entry, dst);
        }

        Merge?.Apply(name, entry, 0, dst);
    }

    /// <summary>Fills <paramref name="dst"/> with a tensor's bytes from <paramref name="start"/> on; false for one that is turned or changed when it is read.</summary>
    public bool TryReadPart(string name, long start, Span<byte> dst)
    {
        var (file, entry, transposed) = tensors[name];
        if (transposed) return false;
        file.ReadPart(entry, start, dst);
        Merge?.Apply(name, entry, start, dst);
        return true;
    }

    public void Dispose()
    {
        if (borrowed) return;
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

        throw NoWeights(folder, variant);
    }

    private static ModelFileException NoWeights(string folder, string? variant)
    {
        try
        {
            string[] others = [.. Directory.GetFiles(folder).Select(f => System.IO.Path.GetFileName(f)).Where(f => f.EndsWith(".bin", StringComparison.Ordinal) || f.EndsWith(".ckpt", StringComparison.Ordinal) || f.EndsWith(".safetensors", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
            string found = others.Length > 0 ? $", found {string.Join(", ", others.Take(5))}" : "";
            if (variant is not null) return new ModelFileException(folder, null, $"expected weights of the variant '{variant}'{found}");
            string? pickle = others.FirstOrDefault(f => !f.EndsWith(".safetensors", StringComparison.Ordinal));
            if (pickle is not null)
            {
                string path = System.IO.Path.Combine(folder, pickle);
                var head = new byte[512];
                using var stream = File.OpenRead(path);
                int got = stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
                return new ModelFileException(path, null, FileKind.Sniff(head.AsSpan(0, got), path) ?? "is not safetensors");
            }

            return new ModelFileException(folder, null, $"has no weights: expected {string.Join(" or ", BaseNames.Select(n => n + ".safetensors"))}{found}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new ModelFileException(folder, null, $"cannot be read: {e.Message}", e);
        }
    }

    private void AddFile(string path)
    {
        var file = SafetensorsFile.Open(path);
        files.Add(file);
        foreach (var (name, entry) in file.Tensors) tensors[name] = (file, entry, false);
    }

    private void AddShards(string index)
    {
        string folder = System.IO.Path.GetDirectoryName(index) ?? "";
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

            if (!file.Tensors.ContainsKey(tensor)) throw new ModelFileException(index, tensor, $"is not in the shard '{shard}' that the index names");
        }

        // What the shards hold beyond the index belongs to the set too: the account then says that it is unused.
        foreach (var (shard, file) in shards)
        {
            foreach (var (name, entry) in file.Tensors)
            {
                if (!tensors.TryAdd(name, (file, entry, false))) throw new ModelFileException(index, name, $"is in two shards, '{System.IO.Path.GetFileName(tensors[name].File.Path)}' and '{shard}'");
            }
        }
    }
}
