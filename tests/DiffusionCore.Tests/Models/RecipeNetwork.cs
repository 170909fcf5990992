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
    private readonly List<Checkpoint> checkpoints = [];
    private readonly ConfigFile file;
    private readonly Func<WeightScope, ConfigFile, T> create;
    private readonly Action<T, Graph> record;

    /// <param name="config">The content of config.json.</param>
    /// <param name="record">Must record everything that the network has.</param>
    public RecipeNetwork(string config, Func<WeightScope, ConfigFile, T> create, Action<T, Graph> record)
    {
        this.create = create;
        this.record = record;
        file = ConfigFile.Load(folder.Write("config.json", config));
        Graph = Load(StorageType.F32);
    }

    public Graph Graph { get; }

    /// <summary>
    /// The largest error of any output on the CPU against the interpreter, over the output's largest value, with weights stored in F32 and in F16.
    /// Inputs are by recipe where they are not given.
    /// </summary>
    public double Error(IReadOnlyDictionary<string, double[]>? given = null) => Math.Max(Error(Graph, given), Error(Load(StorageType.F16), given));

    /// <summary>What the golden models take as the input of that name: 1.7 s, s in [-1, 1) by the recipe.</summary>
    public static double[] Numbers(string input, long count) => Array.ConvertAll(GoldenModel.Recipe("input:" + input, [count]), v => 17.0 * v);

    public void Dispose()
    {
        foreach (var checkpoint in checkpoints) checkpoint.Dispose();
        folder.Dispose();
    }

    private static double Error(Graph graph, IReadOnlyDictionary<string, double[]>? given)
    {
        var inputs = graph.Inputs.ToDictionary(p => p.Key, p => given is not null && given.TryGetValue(p.Key, out var v) ? v : Numbers(p.Key, graph.Nodes[p.Value].Type.Shape.Count));
        using var device = new CpuDevice(2);
        var expected = Interpreter.Run(graph, inputs);
        var got = GraphRunner.OnDevice(device, graph, inputs);
        return expected.Max(e => GraphRunner.RelativeError(e.Value, got[e.Key]));
    }

    private Graph Load(StorageType type)
    {
        folder.Write("empty/model.safetensors", SafetensorsWriter.ToArray([]));
        var draft = new Graph();
        using (var empty = Checkpoint.Open(folder["empty"])) record(create(WeightScope.Of(empty, Label), file), draft);
        var tensors = draft.Nodes.Select(n => n.Op).OfType<WeightOp>().SelectMany(w => Stored(w.Source)).Distinct().Select(s => Tensor(s.Name[(Label.Length + 1)..], s.Type.Shape.ToArray(), type));
        folder.Write($"{type}/model.safetensors", SafetensorsWriter.ToArray(tensors));
        var checkpoint = Checkpoint.Open(folder[$"{type}"]);
        checkpoints.Add(checkpoint);
        var scope = WeightScope.Of(checkpoint, Label);
        var network = create(scope, file);
        scope.ThrowIfIncomplete();
        Assert.Empty(scope.Account().Unused);
        var graph = new Graph();
        record(network, graph);
        return graph;
    }

    private static TensorData Tensor(string name, long[] dims, StorageType type)
    {
        double[] values = Array.ConvertAll(GoldenModel.Recipe(name, dims), v => (double)v);
        var dtype = type.ToDType()!.Value;
        var bytes = new byte[values.Length * dtype.Size()];
        Interpreter.ToBytes(values, dtype, bytes);
        return new TensorData(name, type, dims, bytes);
    }

    private static IEnumerable<IWeightSource> Stored(IWeightSource source) => source is IDerivedWeight derived ? derived.Sources.SelectMany(Stored) : [source];
}
