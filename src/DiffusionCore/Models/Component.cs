using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>A network of a model folder (config.json and weights), ready to be recorded.</summary>
public sealed class Component : IDisposable
{
    private readonly Checkpoint checkpoint;

    private Component(string path, ConfigFile config, Checkpoint checkpoint, object network, LoadAccount account)
    {
        Path = path;
        Config = config;
        this.checkpoint = checkpoint;
        Network = network;
        Account = account;
    }

    public string Path { get; }

    public ConfigFile Config { get; }

    /// <summary>A <see cref="UNet2DModel"/> or an <see cref="ImageClassifier"/>.</summary>
    public object Network { get; }

    public LoadAccount Account { get; }

    public Checkpoint Checkpoint => checkpoint;

    private static readonly string[] Supported = ["UNet2DModel", "ImageClassifier"];

    /// <param name="folder">Holds config.json and the weights.</param>
    /// <exception cref="ModelFileException">Something is missing or does not fit.</exception>
    public static Component Load(string folder, string? variant = null)
    {
        if (!Directory.Exists(folder)) throw new ModelFileException(folder, null, File.Exists(folder) ? "is a file; expected a component folder with config.json" : "there is no such folder");
        string configPath = System.IO.Path.Combine(folder, "config.json");
        if (!File.Exists(configPath)) throw new ModelFileException(folder, null, "has no config.json; expected a component folder with config.json and safetensors weights");
        var config = ConfigFile.Load(configPath);
        string name = config.GetWord("_class_name", null, Supported);
        var checkpoint = Checkpoint.Open(folder, variant);
        try
        {
            string label = name == "UNet2DModel" ? "unet" : "classifier";
            var scope = WeightScope.Of(checkpoint, label);
            object network = name == "UNet2DModel" ? new UNet2DModel(scope, UNet2DConfig.Read(config)) : new ImageClassifier(scope, ImageClassifierConfig.Read(config));
            scope.ThrowIfIncomplete();
            return new Component(folder, config, checkpoint, network, scope.Account());
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
    public static List<TensorData> Run(Component component, Checkpoint inputs, Device device)
    {
        var graph = new Graph();
        var given = new List<string>();
        if (component.Network is UNet2DModel unet)
        {
            var x = Declare("sample", 4);
            var t = Declare("timestep", -1);
            if (t.Shape.Rank == 0) t = graph.Reshape(t, 1);
            if (t.Shape.Rank != 1 || (t.Shape[0] != 1 && t.Shape[0] != x.Shape[0])) throw new ModelFileException(inputs.Path, "in.timestep", $"expected 1 or {x.Shape[0]} times, found {t.Shape}");
            CheckSample(unet, x.Shape);
            Value? classes = inputs.TryGet("in.class_labels", out _) ? Declare("class_labels", -1) : null;
            if (classes is null && unet.Config.ClassEmbedding != ClassEmbeddingKind.None) throw new ModelFileException(inputs.Path, "in.class_labels", "is missing: this network is conditioned on classes");
            if (classes is not null && unet.Config.ClassEmbedding == ClassEmbeddingKind.None) throw new ModelFileException(inputs.Path, "in.class_labels", "is given, but this network takes no classes");
            graph.Output("sample", graph.ToChannelsFirst(unet.Record(graph, graph.ToChannelsLast(x), t, classes)));
        }
        else
        {
            var classifier = (ImageClassifier)component.Network;
            var x = Declare("image", 4);
            var (features, logits) = classifier.Record(graph, graph.ToChannelsLast(x));
            graph.Output("features", features);
            graph.Output("logits", logits);
        }

        using var store = device.CreateWeightStore();
        using var executable = device.Prepare(device.Plan(graph), store);
        var buffers = new List<DeviceBuffer>();
        try
        {
            foreach (string name in given)
            {
                inputs.TryGet("in." + name, out var entry);
                var bytes = new byte[entry.Bytes];
                inputs.Read(entry.Name, bytes);
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
                CheckFinite(MemoryMarshal.Cast<byte, float>(bytes), $"out.{name}");
                results.Add(new TensorData("out." + name, StorageTypes.FromDType(type.DType), type.Shape.ToArray(), bytes));
            }

            return results;
        }
        finally
        {
            foreach (var buffer in buffers) buffer.Dispose();
        }

        Value Declare(string name, int rank)
        {
            if (!inputs.TryGet("in." + name, out var entry)) throw new ModelFileException(inputs.Path, "in." + name, $"is missing; the file has {string.Join(", ", inputs.Names.Take(8))}");
            if (entry.Type.ToDType() is not { } type || entry.Dims.Length > Shape.MaxRank) throw new ModelFileException(inputs.Path, entry.Name, $"cannot be used as an input: {entry}");
            if (rank >= 0 && entry.Dims.Length != rank) throw new ModelFileException(inputs.Path, entry.Name, $"expected rank {rank}, found [{string.Join(", ", entry.Dims)}]");
            given.Add(name);
            var value = graph.Input(name, new Shape(entry.Dims), type);
            return type.IsFloat() ? graph.Cast(value, DType.F32) : value;
        }

        void CheckSample(UNet2DModel model, Shape s)
        {
            if (s[1] != model.Config.InChannels) throw new ModelFileException(inputs.Path, "in.sample", $"expected {model.Config.InChannels} channels, found {s}");
            if (s[0] < 1 || s[2] < 1 || s[3] < 1 || s[2] % model.SizeMultiple != 0 || s[3] % model.SizeMultiple != 0)
                throw new ModelFileException(inputs.Path, "in.sample", $"expected height and width in multiples of {model.SizeMultiple}, found {s}");
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
