using System.Runtime.InteropServices;
using System.Text.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>
/// A golden model of the conformance data: a component folder and the numbers that the peer got from it. Weights that were too large to
/// keep are rebuilt in a temporary folder.
/// </summary>
internal sealed class GoldenModel : IDisposable
{
    private readonly TemporaryFolder? rebuilt;

    private GoldenModel(string name, string folder, TemporaryFolder? rebuilt, Checkpoint io)
    {
        Name = name;
        Folder = folder;
        this.rebuilt = rebuilt;
        IO = io;
    }

    public string Name { get; }

    /// <summary>config.json and weights.</summary>
    public string Folder { get; }

    /// <summary>Tensors in.NAME, out.NAME and act.NAME.</summary>
    public Checkpoint IO { get; }

    public static GoldenModel Open(string name)
    {
        string source = ConformanceData.PathOf("golden", name), folder = source;
        TemporaryFolder? temporary = null;
        if (!File.Exists(Path.Combine(source, "model.safetensors")))
        {
            temporary = new TemporaryFolder();
            folder = temporary.Path;
            File.Copy(Path.Combine(source, "config.json"), temporary["config.json"]);
            SafetensorsWriter.Write(temporary["model.safetensors"], Rebuild(source));
        }

        return new GoldenModel(name, folder, temporary, Checkpoint.Open(Path.Combine(source, "golden.safetensors")));
    }

    /// <summary>
    /// The weight recipe. The tensor's name seeds SplitMix64 (FNV-1a-64 of its UTF-8 bytes); s is the top 24 bits of each draw, in [-1, 1).
    /// Matrices and kernels named "weight" are s*sqrt(3/fan-in), vectors named "weight" 1 + s/10, everything else s/10.
    /// </summary>
    public static float[] Recipe(string name, ReadOnlySpan<long> shape)
    {
        ulong state = 0xcbf29ce484222325;
        foreach (byte b in System.Text.Encoding.UTF8.GetBytes(name)) state = (state ^ b) * 0x100000001b3;
        long count = 1, inner = 1;
        foreach (long d in shape) count *= d;
        foreach (long d in shape.Length > 0 ? shape[1..] : shape) inner *= d;
        bool weight = name.EndsWith("weight", StringComparison.Ordinal);
        var values = new float[count];
        for (int i = 0; i < values.Length; i++)
        {
            state += 0x9E3779B97F4A7C15;
            ulong z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            z ^= z >> 31;
            double s = (z >> 40) / 16777216.0 * 2 - 1;
            values[i] = (float)(weight && shape.Length >= 2 ? s * Math.Sqrt(3.0 / inner) : weight && shape.Length == 1 ? 1 + 0.1 * s : 0.1 * s);
        }

        return values;
    }

    /// <summary>
    /// Runs the network and compares every output that the peer gave: whole numbers exactly, floats within <paramref name="bound"/> of the largest
    /// expected magnitude. Every expected output must be there.
    /// </summary>
    public void Check(double bound, params ReadOnlySpan<string> notGiven)
    {
        using var device = new CpuDevice(2);
        using var component = Component.Load(Folder);
        Assert.Empty(component.Account.Unused);
        var results = Component.Run(component, IO, device).ToDictionary(r => r.Name);
        foreach (string expected in IO.Names.Where(n => n.StartsWith("out.", StringComparison.Ordinal)))
        {
            if (notGiven.Contains(expected)) continue;
            Assert.True(results.TryGetValue(expected, out var result), $"{Name}: no {expected}; there are {string.Join(", ", results.Keys)}");
            IO.TryGet(expected, out var entry);
            Assert.Equal(entry.Dims, result.Dims);
            Assert.Equal(entry.Type, result.Type);
            var bytes = new byte[entry.Bytes];
            IO.Read(expected, bytes);
            if (entry.Type == StorageType.F32) AssertClose(bytes, result.Data.Span, bound, $"{Name} {expected}");
            else Assert.True(result.Data.Span.SequenceEqual(bytes), $"{Name} {expected}: whole numbers differ");
        }
    }

    public static byte[] Read(Checkpoint file, string name)
    {
        file.TryGet(name, out var entry);
        var bytes = new byte[entry.Bytes];
        file.Read(name, bytes);
        return bytes;
    }

    public static void AssertClose(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> got, double bound, string what)
    {
        var want = MemoryMarshal.Cast<byte, float>(expected);
        var have = MemoryMarshal.Cast<byte, float>(got);
        Assert.Equal(want.Length, have.Length);
        double largest = 0, error = 0;
        for (int i = 0; i < want.Length; i++)
        {
            largest = Math.Max(largest, Math.Abs(want[i]));
            error = Math.Max(error, float.IsNaN(have[i]) ? double.PositiveInfinity : Math.Abs((double)want[i] - have[i]));
        }

        Assert.True(error <= bound * largest, $"{what}: error {error} of {largest} is {error / largest:E2}, above {bound:E1}");
    }

    public void Dispose()
    {
        IO.Dispose();
        rebuilt?.Dispose();
    }

    private static List<TensorData> Rebuild(string source)
    {
        using var tensors = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(source, "tensors.json")));
        string buffers = Path.Combine(source, "buffers.safetensors");
        using var stored = File.Exists(buffers) ? Checkpoint.Open(buffers) : null;
        var all = new List<TensorData>();
        foreach (var tensor in tensors.RootElement.EnumerateObject())
        {
            if (stored is not null && stored.TryGet(tensor.Name, out var entry))
            {
                var bytes = new byte[entry.Bytes];
                stored.Read(tensor.Name, bytes);
                all.Add(new TensorData(tensor.Name, entry.Type, entry.Dims, bytes));
                continue;
            }

            long[] shape = [.. tensor.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64())];
            Assert.Equal("F32", tensor.Value.GetProperty("dtype").GetString());
            all.Add(new TensorData(tensor.Name, StorageType.F32, shape, MemoryMarshal.AsBytes(Recipe(tensor.Name, shape).AsSpan()).ToArray()));
        }

        return all;
    }
}
