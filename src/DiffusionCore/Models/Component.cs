using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;
using DiffusionCore.Weights.SingleFile;

namespace DiffusionCore.Models;

/// <summary>A network of a model folder (config.json and weights), ready to be recorded.</summary>
public sealed class Component : IDisposable
{
    private readonly Checkpoint checkpoint;

    private Component(string path, ConfigFile config, Checkpoint checkpoint, INetwork network, LoadAccount account)
    {
        Path = path;
        Config = config;
        this.checkpoint = checkpoint;
        Network = network;
        Account = account;
    }

    public string Path { get; }

    public ConfigFile Config { get; }

    public INetwork Network { get; }

    public LoadAccount Account { get; }

    public Checkpoint Checkpoint => checkpoint;

    /// <param name="folder">Holds config.json and the weights.</param>
    /// <param name="loras">Merged into the weights as they are read; their files must stay open as long as the component.</param>
    /// <param name="component">What LoRAs call it, where the class does not say: text_encoder_2.</param>
    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    public static Component Load(string folder, string? variant = null, IReadOnlyList<LoraUse>? loras = null, string? component = null)
    {
        if (!Directory.Exists(folder)) throw new ModelFileException(folder, null, File.Exists(folder) ? "is a file; expected a component folder with config.json" : "there is no such folder");
        string configPath = System.IO.Path.Combine(folder, "config.json");
        if (!File.Exists(configPath)) throw new ModelFileException(folder, null, "has no config.json; expected a component folder with config.json and safetensors weights");
        var config = ConfigFile.Load(configPath);
        var entry = NetworkRegistry.Find(config);
        return Load(folder, config, entry, Checkpoint.Open(folder, variant), loras, component);
    }

    /// <summary>A network of a single file, seen through its view.</summary>
    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    public static Component Of(SingleFileComponent part, IReadOnlyList<LoraUse>? loras = null) => Load(part.Config.Path, part.Config, NetworkRegistry.Find(part.Config), part.Weights, loras, part.Name);

    /// <summary>A network of a class that the caller knows, its parameters and its part of a larger checkpoint.</summary>
    /// <param name="label">How messages call it.</param>
    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    internal static Component Of(string path, ConfigFile config, string @class, Checkpoint weights, string label) => Load(path, config, NetworkRegistry.Get(@class) with { Label = label }, weights, null, null);

    /// <inheritdoc cref="Of(string, ConfigFile, string, Checkpoint, string)"/>
    internal static Component Of(string path, ConfigFile config, string label, Checkpoint weights, Func<WeightScope, INetwork> create) =>
        Load(path, config, new NetworkRegistry.Entry("", label, (w, _) => create(w)), weights, null, null);

    // Takes the checkpoint over, also where it fails.
    private static Component Load(string path, ConfigFile config, NetworkRegistry.Entry entry, Checkpoint checkpoint, IReadOnlyList<LoraUse>? loras, string? component)
    {
        try
        {
            if (loras is { Count: > 0 }) checkpoint.Merge = new LoraMerge(checkpoint, component ?? entry.Label, loras);
            var scope = WeightScope.Of(checkpoint, entry.Label);
            var network = entry.Create(scope, config);
            scope.ThrowIfIncomplete();
            return new Component(path, config, checkpoint, network, scope.Account());
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Evaluates the network once: tensors in.NAME of a file, out.NAME of the result. Tensors are channels first, as files have them.
    /// </summary>
    /// <param name="more">Inputs in.NAME beside the file's.</param>
    /// <exception cref="UsageException">The network takes none of that name.</exception>
    /// <exception cref="ModelFileException">An input is missing or does not fit.</exception>
    public static List<TensorData> Run(Component component, Checkpoint inputs, Device device, IReadOnlyList<TensorData>? more = null)
    {
        var io = new NetworkIO(inputs, more);
        component.Network.Record(io);
        io.ThrowIfUnasked(component.Config.ClassName);
        if (io.Graph.Outputs.Count == 0) throw new ModelFileException(inputs.Path, null, $"has nothing that {component.Config.ClassName} takes; it has {string.Join(", ", inputs.Names.Take(8))}");
        using var store = device.CreateWeightStore();
        using var executable = device.Prepare(device.Plan(io.Graph), store);
        var buffers = new List<DeviceBuffer>();
        try
        {
            foreach (string name in io.Declared)
            {
                var bytes = io.Read(name);
                var buffer = device.Allocate(bytes.Length);
                buffers.Add(buffer);
                device.Upload(bytes, buffer);
                executable.Bind(name, buffer);
            }

            executable.Run(Rate.Request);
            executable.Run(Rate.Step);
            var results = new List<TensorData>();
            foreach (var (name, id) in executable.Plan.Graph.Outputs)
            {
                var type = executable.Plan.Graph.Nodes[id].Type;
                var bytes = new byte[type.Bytes];
                device.Download(executable.Output(name), bytes);
                if (type.DType == DType.F32) CheckFinite(MemoryMarshal.Cast<byte, float>(bytes), $"out.{name}");
                results.Add(new TensorData("out." + name, StorageTypes.FromDType(type.DType), type.Shape.ToArray(), bytes));
            }

            return results;
        }
        finally
        {
            foreach (var buffer in buffers) buffer.Dispose();
        }
    }

    /// <exception cref="ModelFileException">A number is not finite.</exception>
    private static void CheckFinite(ReadOnlySpan<float> values, string what)
    {
        for (int i = 0; i < values.Length; i++)
            if (!float.IsFinite(values[i])) throw new NonFiniteException(what, i);
    }

    public void Dispose() => checkpoint.Dispose();
}

/// <summary>A result that is not a number: names the stage.</summary>
public sealed class NonFiniteException(string stage, long element)
    : DiffusionCoreException(ErrorKind.Model, $"{stage}: element {element} is not finite; the weights may be damaged (try --check-finite) or a value overflowed");
