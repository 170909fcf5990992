using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Synthesis;

/// <summary>Writes a synthetic model as a diffusers folder, or as its authors have it. Weights are made and written block by block and never all in memory.</summary>
public static unsafe class SynthModel
{
    // One block of a thread: values in F32, then in the stored type.
    private const int BlockValues = 1 << 19;

    // Beside the weights: configurations and vocabularies.
    private const long OtherBytes = 16 << 20;

    /// <param name="folder">Must not exist; appears when everything in it is written.</param>
    /// <param name="type">F16, BF16 or F32.</param>
    /// <param name="progress">Bytes written and bytes in all; called from several threads.</param>
    /// <exception cref="FileException">The folder exists, the disk has no room, or something cannot be written. Nothing is left behind.</exception>
    public static void Write(SynthPreset preset, string folder, ulong seed, StorageType type, Action<long, long>? progress = null, CancellationToken cancellation = default)
    {
        if (type is not (StorageType.F16 or StorageType.BF16 or StorageType.F32)) throw new ArgumentOutOfRangeException(nameof(type), type, "expected F16, BF16 or F32");
        long total = preset.Parameters * (type.Bits() / 8);
        string full = Check(folder, total);
        string temporary = Path.Combine(Path.GetDirectoryName(full)!, $".dcore-{Path.GetRandomFileName()}.tmp");
        bool created = false;
        try
        {
            Directory.CreateDirectory(temporary);
            created = true;
            long written = 0;
            if (preset.Whole is { } config)
            {
                File.WriteAllText(Path.Combine(temporary, "config.json"), config + "\n");
                var all = new SynthComponent("", "", preset.Pipeline, _ => { }, [.. preset.Components.SelectMany(c => c.Tensors)]);
                WriteWeights(Path.Combine(temporary, "model.safetensors"), all, seed, type, bytes => progress?.Invoke(Interlocked.Add(ref written, bytes), total), cancellation);
                if (preset.WordPieces > 0) LatentPlan.WriteVocabulary(Path.Combine(temporary, Text.BertTokenizer.FileName), preset.WordPieces);
                Directory.Move(temporary, full);
                created = false;
                return;
            }

            foreach (var component in preset.Components)
            {
                string path = Directory.CreateDirectory(Path.Combine(temporary, component.Folder)).FullName;
                WriteJson(Path.Combine(path, "config.json"), component.Config);
                WriteWeights(Path.Combine(path, component.WeightsName + ".safetensors"), component, seed, type, bytes => progress?.Invoke(Interlocked.Add(ref written, bytes), total), cancellation);
            }

            foreach (var tokenizer in preset.Tokenizers) SynthVocabulary.Write(Path.Combine(temporary, tokenizer.Folder), tokenizer);
            string scheduler = Directory.CreateDirectory(Path.Combine(temporary, "scheduler")).FullName;
            WriteJson(Path.Combine(scheduler, "scheduler_config.json"), w =>
            {
                w.WriteString("_class_name", preset.SchedulerClass);
                preset.Scheduler(w);
            });
            WriteJson(Path.Combine(temporary, ModelIndex.FileName), w => Index(w, preset));
            Directory.Move(temporary, full);
            created = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FileException(folder, $"cannot be written: {e.Message}", e);
        }
        finally
        {
            if (created) Remove(temporary);
        }
    }

    internal static void WriteJson(string path, Action<Utf8JsonWriter> fields)
    {
        using var stream = File.Create(path);
        using (var w = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            w.WriteStartObject();
            fields(w);
            w.WriteEndObject();
        }

        stream.Write("\n"u8);
    }

    private static void Index(Utf8JsonWriter w, SynthPreset preset)
    {
        w.WriteString("_class_name", preset.Pipeline);
        preset.Settings(w);
        foreach (var c in preset.Components) w.WriteStrings(c.Folder, [c.Library, c.Class]);
        foreach (var t in preset.Tokenizers) w.WriteStrings(t.Folder, ["transformers", "CLIPTokenizer"]);
        w.WriteStrings("scheduler", ["diffusers", preset.SchedulerClass]);
    }

    private static string Check(string folder, long bytes)
    {
        if (folder.Length == 0) throw new FileException("''", "an empty folder name");
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (File.Exists(full) || Directory.Exists(full)) throw new FileException(folder, "exists already; give a new name or remove it first");
        string? parent = Path.GetDirectoryName(full);
        if (parent is null || !Directory.Exists(parent)) throw new FileException(folder, $"the folder '{parent}' does not exist; create it first");
        long free;
        try
        {
            free = new DriveInfo(parent).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            // Not every file system says; writing then finds out.
            return full;
        }

        if (free < bytes + OtherBytes) throw new FileException(folder, FormattableString.Invariant($"needs {(bytes + OtherBytes) / 1e9:F2} GB, the disk has {free / 1e9:F2} GB free; free some or choose another disk"));
        return full;
    }

    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report.
        }
    }

    private static void WriteWeights(string path, SynthComponent component, ulong seed, StorageType type, Action<long> wrote, CancellationToken cancellation)
    {
        int size = type.Bits() / 8;
        var layout = component.Tensors.Select(t => new TensorHeader(t.Name, type, t.Dims)).ToArray();
        var (header, offsets) = SafetensorsWriter.Header(layout, new Dictionary<string, string> { ["format"] = "pt", ["made_by"] = $"dcore synth, seed {seed}: random numbers" });
        long bytes = header.Length + layout.Sum(t => t.Bytes);
        using var handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, FileOptions.None, bytes);
        RandomAccess.Write(handle, header, 0);
        var blocks = new List<(int Tensor, long First, int Count)>();
        for (int t = 0; t < component.Tensors.Count; t++)
        {
            long count = component.Tensors[t].Count;
            for (long first = 0; first < count; first += BlockValues) blocks.Add((t, first, (int)Math.Min(BlockValues, count - first)));
        }

        try
        {
            Parallel.ForEach(
                blocks, new ParallelOptions { CancellationToken = cancellation, MaxDegreeOfParallelism = Environment.ProcessorCount },
                () => (Floats: new float[BlockValues], Bytes: new byte[BlockValues * size]),
                (block, _, buffers) =>
                {
                    var tensor = component.Tensors[block.Tensor];
                    var floats = buffers.Floats.AsSpan(0, block.Count);
                    SynthNumbers.Fill(SynthNumbers.Key($"{component.Folder}.{tensor.Name}", seed), block.First, tensor.Center, tensor.Reach, floats);
                    var stored = buffers.Bytes.AsSpan(0, block.Count * size);
                    Store(floats, type, stored);
                    RandomAccess.Write(handle, stored, header.Length + offsets[block.Tensor] + (block.First * size));
                    wrote(stored.Length);
                    return buffers;
                },
                _ => { });
        }
        catch (AggregateException e) when (e.InnerExceptions[0] is IOException or UnauthorizedAccessException)
        {
            throw new FileException(path, $"cannot be written: {e.InnerExceptions[0].Message}", e);
        }

        RandomAccess.FlushToDisk(handle);
    }

    private static void Store(ReadOnlySpan<float> values, StorageType type, Span<byte> dst)
    {
        fixed (float* s = values)
        fixed (byte* d = dst)
        {
            if (type == StorageType.F16) HalfConversion.F32ToF16(s, (ushort*)d, values.Length);
            else if (type == StorageType.BF16) HalfConversion.F32ToBF16(s, (ushort*)d, values.Length);
            else Buffer.MemoryCopy(s, d, dst.Length, dst.Length);
        }
    }
}
