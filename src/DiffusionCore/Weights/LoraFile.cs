using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>One low-rank change of a layer's weight: scale * up * down.</summary>
/// <param name="Component">unet (whatever the denoiser is), text_encoder, text_encoder_2, text_encoder_3.</param>
/// <param name="Module">The layer's path, joined with underscores.</param>
/// <param name="Down">[rank, inputs] or, for a convolution, [rank, inputs, kh, kw].</param>
/// <param name="Up">[outputs, rank], with extents of 1 behind for a convolution.</param>
/// <param name="Scale">alpha / rank; 1 where the file gives no alpha.</param>
public sealed record LoraModule(string Component, string Module, TensorEntry Down, TensorEntry Up, double Scale)
{
    public long Rank => Down.Dims[0];
}

/// <summary>A LoRA file (Hu et al. 2021), in kohya's or diffusers' naming.</summary>
public sealed class LoraFile : IDisposable
{
    private readonly Checkpoint checkpoint;

    private LoraFile(Checkpoint checkpoint, List<LoraModule> modules)
    {
        this.checkpoint = checkpoint;
        Modules = modules;
    }

    public string Path => checkpoint.Path;

    public IReadOnlyList<LoraModule> Modules { get; }

    /// <summary>Components that the file changes.</summary>
    public IEnumerable<string> Components => Modules.Select(m => m.Component).Distinct();

    /// <exception cref="ModelFileException">The file holds something that is not a LoRA of this kind, or halves that do not fit each other.</exception>
    public static LoraFile Open(string path)
    {
        var checkpoint = Checkpoint.Open(path);
        try
        {
            var parts = new Dictionary<(string Component, string Module), TensorEntry?[]>();
            foreach (string key in checkpoint.Names)
            {
                checkpoint.TryGet(key, out var entry);
                if (LoraNames.Parse(key) is not { } name) throw new ModelFileException(path, key, $"is not part of a LoRA as this version knows it: expected keys that end in lora_down.weight, lora_up.weight, lora_A.weight, lora_B.weight or alpha{Kind(key)}");
                if (!parts.TryGetValue((name.Component, name.Module), out var found)) parts[(name.Component, name.Module)] = found = new TensorEntry?[3];
                if (found[(int)name.Part] is { } twice) throw new ModelFileException(path, key, $"is the same half of {name.Component}.{name.Module} as '{twice.Name}'");
                found[(int)name.Part] = entry;
            }

            if (parts.Count == 0) throw new ModelFileException(path, null, "holds no tensors; expected a LoRA");
            var modules = new List<LoraModule>();
            foreach (var ((component, module), found) in parts) modules.Add(Module(checkpoint, component, module, found[(int)LoraPart.Down], found[(int)LoraPart.Up], found[(int)LoraPart.Alpha]));
            return new LoraFile(checkpoint, modules);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    public void Dispose() => checkpoint.Dispose();

    /// <summary>A half's numbers.</summary>
    internal float[] Read(TensorEntry entry) => Floats(checkpoint, entry);

    private static LoraModule Module(Checkpoint checkpoint, string component, string module, TensorEntry? down, TensorEntry? up, TensorEntry? alpha)
    {
        string name = $"{component}.{module}";
        if (down is null) throw new ModelFileException(checkpoint.Path, name, $"has no lora_down{(up is null ? " and no lora_up" : "")}; a LoRA needs both halves");
        if (up is null) throw new ModelFileException(checkpoint.Path, name, "has no lora_up; a LoRA needs both halves");
        foreach (var half in new[] { down, up })
        {
            if (half.Type.ToDType() is not { } type || !type.IsFloat()) throw new ModelFileException(checkpoint.Path, half.Name, $"is stored as {half.Type.FileName()}; expected F32, F16, BF16 or F64");
            if (half.Dims.Length is not (2 or 4) || half.Dims.Contains(0)) throw new ModelFileException(checkpoint.Path, half.Name, $"has shape [{string.Join(", ", half.Dims)}]; expected a matrix or a convolution kernel");
        }

        if (up.Dims[1] != down.Dims[0] || up.Dims.AsSpan(2).ContainsAnyExcept(1))
            throw new ModelFileException(checkpoint.Path, up.Name, $"has shape [{string.Join(", ", up.Dims)}]; expected [outputs, {down.Dims[0]}] for a lora_down of [{string.Join(", ", down.Dims)}]");
        double scale = 1;
        if (alpha is not null)
        {
            if (alpha.Type.ToDType() is not { } type || !type.IsFloat() || alpha.Dims.Any(d => d != 1)) throw new ModelFileException(checkpoint.Path, alpha.Name, $"is {alpha}; expected one number");
            scale = Floats(checkpoint, alpha)[0] / (double)down.Dims[0];
            if (!double.IsFinite(scale)) throw new ModelFileException(checkpoint.Path, alpha.Name, "is not finite");
        }

        return new LoraModule(component, module, down, up, scale);
    }

    private static float[] Floats(Checkpoint checkpoint, TensorEntry entry)
    {
        var bytes = new byte[entry.Bytes];
        checkpoint.Read(entry.Name, bytes);
        return Array.ConvertAll(Interpreter.FromBytes(bytes, entry.Type.ToDType()!.Value), v => (float)v);
    }

    private static string Kind(string key)
    {
        foreach (var (part, kind) in new[] { ("hada_", "LoHa"), ("lokr_", "LoKr"), ("dora_scale", "DoRA"), ("lora_magnitude_vector", "DoRA"), ("lora_mid", "LoCon with a core tensor"), (".diff", "a full difference") })
            if (key.Contains(part, StringComparison.Ordinal)) return $"; this is {kind}, which is not supported";
        return "";
    }
}
