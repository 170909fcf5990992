using System.Runtime.InteropServices;
using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>A network with weights by recipe: recorded once to learn the names and shapes that it asks for, and once with them.</summary>
internal sealed class RecipeNetwork<T> : IDisposable
{
    private const string Label = "net";

    private readonly TemporaryFolder folder = new();
    private readonly Checkpoint checkpoint;

    /// <param name="config">The content of config.json.</param>
    /// <param name="record">Must record everything that the network has.</param>
    public RecipeNetwork(string config, Func<WeightScope, ConfigFile, T> create, Action<T, Graph> record)
    {
        var file = ConfigFile.Load(folder.Write("config.json", config));
        folder.Write("empty/model.safetensors", SafetensorsWriter.ToArray([]));
        using var empty = Checkpoint.Open(folder["empty"]);
        var draft = new Graph();
        record(create(WeightScope.Of(empty, Label), file), draft);
        var tensors = draft.Nodes.Select(n => n.Op).OfType<WeightOp>().SelectMany(w => Stored(w.Source)).Distinct().Select(s => Tensor(s.Name[(Label.Length + 1)..], s.Type.Shape.ToArray()));
        folder.Write("model.safetensors", SafetensorsWriter.ToArray(tensors));
        checkpoint = Checkpoint.Open(folder.Path);
        var scope = WeightScope.Of(checkpoint, Label);
        Network = create(scope, file);
        scope.ThrowIfIncomplete();
        Assert.Empty(scope.Account().Unused);
        record(Network, Graph);
    }

    public T Network { get; }

    public Graph Graph { get; } = new();

    /// <summary>The largest error of any output on the CPU against the interpreter, over the output's largest value. Inputs are by recipe where they are not given.</summary>
    public double Error(IReadOnlyDictionary<string, double[]>? given = null)
    {
        var inputs = Graph.Inputs.ToDictionary(p => p.Key, p => given is not null && given.TryGetValue(p.Key, out var v) ? v : Numbers(p.Key, Graph.Nodes[p.Value].Type.Shape.Count));
        using var device = new CpuDevice(2);
        var expected = Interpreter.Run(Graph, inputs);
        var got = GraphRunner.OnDevice(device, Graph, inputs);
        return expected.Max(e => GraphRunner.RelativeError(e.Value, got[e.Key]));
    }

    /// <summary>What the golden models take as the input of that name: 1.7 s, s in [-1, 1) by the recipe.</summary>
    public static double[] Numbers(string input, long count) => Array.ConvertAll(GoldenModel.Recipe("input:" + input, [count]), v => 17.0 * v);

    private static IEnumerable<IWeightSource> Stored(IWeightSource source) => source is IDerivedWeight derived ? derived.Sources.SelectMany(Stored) : [source];

    private static TensorData Tensor(string name, long[] dims) => new(name, StorageType.F32, dims, MemoryMarshal.AsBytes(GoldenModel.Recipe(name, dims).AsSpan()).ToArray());

    public void Dispose()
    {
        checkpoint.Dispose();
        folder.Dispose();
    }
}
