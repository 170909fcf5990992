using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The inputs that an evaluation was given and the outputs that its network names. Tensors are as the files have them.</summary>
public sealed class NetworkIO
{
    private const string Prefix = "in.";
    private const int NamesShown = 8;

    private readonly Checkpoint inputs;
    private readonly IReadOnlyList<TensorData> more;
    private readonly Dictionary<string, Value> declared = new(StringComparer.Ordinal);
    private readonly SortedSet<string> asked = new(StringComparer.Ordinal);

    /// <param name="more">Inputs in.NAME beside the file's; they stand in place of what the file has by the same name.</param>
    internal NetworkIO(Checkpoint inputs, IReadOnlyList<TensorData>? more = null)
    {
        this.inputs = inputs;
        this.more = more ?? [];
    }

    public Graph Graph { get; } = new();

    /// <summary>Names of the inputs that the network asked for and that are there.</summary>
    internal IReadOnlyCollection<string> Declared => declared.Keys;

    public bool Has(string name)
    {
        asked.Add(name);
        return Given(name) is not null || inputs.TryGet(Prefix + name, out _);
    }

    /// <summary>An input that must be there. Floats become F32; whole numbers keep their type.</summary>
    /// <param name="rank">What its rank must be; -1 for any.</param>
    /// <param name="rate">Request for what stays the same over the steps of a request, such as a text.</param>
    public Value Input(string name, int rank = -1, Rate rate = Rate.Step)
    {
        if (declared.TryGetValue(name, out var known)) return known;
        asked.Add(name);
        TensorEntry? entry = null;
        if (Given(name) is { } given) entry = new TensorEntry(given.Name, given.Type, given.Dims, 0, given.Data.Length);
        else if (!inputs.TryGet(Prefix + name, out entry))
            throw new ModelFileException(inputs.Path, Prefix + name, $"is missing; the file has {string.Join(", ", inputs.Names.Take(NamesShown))}");
        if (entry.Type.ToDType() is not { } type || entry.Dims.Length > Shape.MaxRank) throw Problem(name, $"cannot be used as an input: {entry}");
        if (rank >= 0 && entry.Dims.Length != rank) throw Problem(name, $"expected rank {rank}, found [{string.Join(", ", entry.Dims)}]");
        var value = Graph.Input(name, new Shape(entry.Dims), type, rate);
        if (type.IsFloat()) value = Graph.Cast(value, DType.F32);
        declared.Add(name, value);
        return value;
    }

    /// <summary>As <see cref="Input"/>, null where it is not given.</summary>
    public Value? Optional(string name, int rank = -1, Rate rate = Rate.Step) => Has(name) ? Input(name, rank, rate) : null;

    /// <summary>An image or a map of features, [N, C, H, W] in the file, as [N, H, W, C].</summary>
    /// <param name="channels">What C must be; -1 for any.</param>
    public Value Map(string name, int channels = -1, Rate rate = Rate.Step)
    {
        var x = Input(name, 4, rate);
        if (channels >= 0 && x.Shape[1] != channels) throw Problem(name, $"expected {channels} channels, found {x.Shape}");
        return Graph.ToChannelsLast(x);
    }

    /// <summary>As <see cref="Map"/>, where neither side may be shorter than <paramref name="minimum"/> pixels.</summary>
    public Value Image(string name, int channels, int minimum)
    {
        var x = Map(name, channels);
        if (x.Shape[0] < 1 || x.Shape[1] < minimum || x.Shape[2] < minimum) throw Problem(name, $"expected at least one image of {minimum}x{minimum} pixels or more, found {x.Shape[0]} of {x.Shape[2]}x{x.Shape[1]}");
        return x;
    }

    /// <summary>Times, one or one per image: a scalar in the file becomes [1].</summary>
    public Value Times(string name, long images)
    {
        var t = Input(name);
        if (t.Shape.Rank == 0) t = Graph.Reshape(t, 1);
        if (t.Shape.Rank != 1 || (t.Shape[0] != 1 && t.Shape[0] != images)) throw Problem(name, $"expected 1 or {images} times, found {t.Shape}");
        return t;
    }

    /// <summary>Names an output, as the file will have it.</summary>
    public void Output(string name, Value value) => Graph.Output(name, value);

    /// <summary>Names an output [N, H, W, C] that the file has as [N, C, H, W].</summary>
    public void OutputMap(string name, Value value) => Graph.Output(name, Graph.ToChannelsFirst(value));

    /// <summary>An error about an input.</summary>
    public ModelFileException Problem(string name, string problem) => new(inputs.Path, Prefix + name, problem);

    /// <summary>Bytes of a declared input.</summary>
    internal byte[] Read(string name)
    {
        if (Given(name) is { } given) return given.Data.ToArray();
        inputs.TryGet(Prefix + name, out var entry);
        var bytes = new byte[entry.Bytes];
        inputs.Read(entry.Name, bytes);
        return bytes;
    }

    /// <exception cref="UsageException">Something was given beside the file that the network did not ask for.</exception>
    internal void ThrowIfUnasked(string className)
    {
        foreach (var tensor in more)
        {
            string name = tensor.Name[Prefix.Length..];
            if (!declared.ContainsKey(name)) throw new UsageException($"input {name}: {className} does not take it; it asks for {string.Join(", ", asked)}");
        }
    }

    private TensorData? Given(string name) => more.FirstOrDefault(t => t.Name.AsSpan(Prefix.Length).SequenceEqual(name));
}
