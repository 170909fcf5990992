using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>A LoRA and how much of it.</summary>
public sealed record LoraUse(LoraFile File, double Strength = 1);

/// <summary>
/// Adds LoRAs to the weights of one component as they are read: W + sum of strength * alpha/rank * up * down, summed in F32 and rounded once to the
/// stored type. A tensor that no LoRA changes, or only LoRAs of strength 0, keeps every byte.
/// </summary>
public sealed class LoraMerge
{
    private const int NamesShown = 3;

    private readonly Dictionary<string, List<(LoraFile File, LoraModule Module, float Factor)>> changes = new(StringComparer.Ordinal);

    private Halves? last;

    /// <param name="checkpoint">Of the component.</param>
    /// <param name="component">unet, transformer, text_encoder, text_encoder_2, text_encoder_3. Modules of other components are passed over.</param>
    /// <exception cref="ModelFileException">A module has no place in the component, or another shape: the LoRA was made for another model.</exception>
    /// <exception cref="UsageException">A strength is not a number.</exception>
    public LoraMerge(Checkpoint checkpoint, string component, IReadOnlyList<LoraUse> loras)
    {
        var places = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string key in checkpoint.Names)
            if (key.EndsWith(".weight", StringComparison.Ordinal)) places[key[..^".weight".Length].Replace('.', '_')] = key;
        foreach (var (file, strength) in loras)
        {
            if (!double.IsFinite(strength)) throw new UsageException($"{file.Path}: strength {strength}: expected a number");
            var modules = file.Modules.Where(m => LoraNames.SameComponent(component, m.Component)).ToArray();
            var lost = new List<LoraModule>();
            foreach (var module in modules)
            {
                if (!places.TryGetValue(module.Module, out string? key) && (LoraNames.FromAuthors(module.Module) is not { } renamed || !places.TryGetValue(renamed, out key)))
                {
                    lost.Add(module);
                    continue;
                }

                checkpoint.TryGet(key, out var target);
                CheckShape(file, module, target, component);
                if (strength == 0) continue;
                if (!changes.TryGetValue(key, out var list)) changes[key] = list = [];
                list.Add((file, module, (float)(strength * module.Scale)));
            }

            if (lost.Count == 0) continue;
            string names = string.Join(", ", lost.Take(NamesShown).Select(m => $"{m.Module} (down {Text(m.Down)}, up {Text(m.Up)})"));
            throw new ModelFileException(
                file.Path, $"{component}.{lost[0].Module}",
                $"has no place in {checkpoint.Path}, with {lost.Count} of {modules.Length} modules in all: {names}{(lost.Count > NamesShown ? $" and {lost.Count - NamesShown} more" : "")}; the LoRA was made for another model");
        }
    }

    /// <summary>Tensors that are changed.</summary>
    public int Count => changes.Count;

    /// <summary>Changes a tensor's bytes, just read, in place. From several threads at once.</summary>
    /// <param name="start">Of the bytes within the tensor; any number of whole elements.</param>
    internal void Apply(string name, TensorEntry entry, long start, Span<byte> bytes)
    {
        if (bytes.Length == 0 || !changes.TryGetValue(name, out var list)) return;
        var type = entry.Type.ToDType() is { } t && t.IsFloat() ? t : throw new ModelFileException(list[0].File.Path, name, $"cannot be added to weights stored as {entry.Type.FileName()}");
        int width = checked((int)(entry.Dims.Aggregate(1L, (p, d) => p * d) / entry.Dims[0])), size = type.Size();
        long first = start / size, end = first + (bytes.Length / size);
        int firstRow = (int)(first / width), rows = (int)((end - 1) / width) - firstRow + 1;
        float[] sum = ArrayPool<float>.Shared.Rent(rows * width);
        Array.Clear(sum, 0, rows * width);
        // The parts of one tensor are read one after the other: its halves are decoded once for most of them.
        var halves = last is { } known && known.Name == name ? known : last = new Halves(name, [.. list.Select(c => (c.File.Read(c.Module.Up), c.File.Read(c.Module.Down)))]);
        for (int i = 0; i < list.Count; i++) Accumulate(halves.UpDown[i].Up, halves.UpDown[i].Down, firstRow, rows, (int)list[i].Module.Rank, list[i].Factor, sum, width);
        for (int r = 0; r < rows; r++)
        {
            long from = Math.Max(first, (long)(firstRow + r) * width), to = Math.Min(end, (long)(firstRow + r + 1) * width);
            var row = bytes.Slice((int)((from - first) * size), (int)((to - from) * size));
            var add = sum.AsSpan((int)(from - ((long)firstRow * width)), (int)(to - from));
            Add(row, type, add);
        }

        ArrayPool<float>.Shared.Return(sum);
    }

    // Sums in F32 (F64 where that is stored), rounded once.
    private static void Add(Span<byte> row, DType type, ReadOnlySpan<float> add)
    {
        if (type == DType.F32)
        {
            var floats = MemoryMarshal.Cast<byte, float>(row);
            for (int i = 0; i < add.Length; i++) floats[i] += add[i];
        }
        else if (type == DType.F16)
        {
            var halves = MemoryMarshal.Cast<byte, Half>(row);
            for (int i = 0; i < add.Length; i++) halves[i] = (Half)((float)halves[i] + add[i]);
        }
        else
        {
            double[] values = Interpreter.FromBytes(row, type);
            for (int i = 0; i < values.Length; i++) values[i] = type == DType.F64 ? values[i] + add[i] : (float)values[i] + add[i];
            Interpreter.ToBytes(values, type, row);
        }
    }

    // sum[o, i] += factor * up[o, r] * down[r, i], by FMA over r in order: the same numbers whatever the vector's width, and whichever rows are asked for.
    private static void Accumulate(float[] up, float[] down, int firstRow, int rows, int rank, float factor, float[] sum, int width)
    {
        for (int o = 0; o < rows; o++)
        {
            var dst = sum.AsSpan(o * width, width);
            for (int r = 0; r < rank; r++)
            {
                float u = factor * up[(firstRow + o) * rank + r];
                var src = down.AsSpan(r * width, width);
                int i = 0;
                for (var v = new Vector<float>(u); i + Vector<float>.Count <= width; i += Vector<float>.Count)
                    Vector.FusedMultiplyAdd(v, new Vector<float>(src[i..]), new Vector<float>(dst[i..])).CopyTo(dst[i..]);
                for (; i < width; i++) dst[i] = MathF.FusedMultiplyAdd(u, src[i], dst[i]);
            }
        }
    }

    private static void CheckShape(LoraFile file, LoraModule module, TensorEntry target, string component)
    {
        ReadOnlySpan<long> weight = Squeezed(target.Dims), down = Squeezed(module.Down.Dims);
        if (weight.Length >= 2 && weight[0] == module.Up.Dims[0] && weight[1..].SequenceEqual(down[1..])) return;
        throw new ModelFileException(
            file.Path, $"{component}.{module.Module}",
            $"has down {Text(module.Down)} and up {Text(module.Up)}; the model's {target.Name} is {Text(target)}; the LoRA was made for another model");
    }

    // A 1x1 convolution is a matrix.
    private static ReadOnlySpan<long> Squeezed(long[] dims) => dims.Length == 4 && dims[2] == 1 && dims[3] == 1 ? dims.AsSpan(0, 2) : dims;

    private sealed record Halves(string Name, (float[] Up, float[] Down)[] UpDown);

    private static string Text(TensorEntry entry) => $"[{string.Join(", ", entry.Dims)}]";
}
