using DiffusionCore.Runtime;

namespace DiffusionCore.Weights;

/// <summary>One tensor of a checkpoint as a model uses it. A tensor that the file lacks is a placeholder until the account is settled.</summary>
public sealed class WeightRef : IWeightSource
{
    private readonly Checkpoint? source;
    private readonly string key;

    internal WeightRef(Checkpoint? source, string key, string fullName, TensorType type)
    {
        this.source = source;
        this.key = key;
        Name = fullName;
        Type = type;
    }

    /// <summary>The name in the file, with the component in front.</summary>
    public string Name { get; }

    public TensorType Type { get; }

    public void Read(Span<byte> dst)
    {
        if (source is null) throw new InvalidOperationException($"{Name} is missing");
        source.Read(key, dst);
    }

    public bool TryReadPart(long start, Span<byte> dst) => source is not null && source.TryReadPart(key, start, dst);
}

/// <summary>What a load used.</summary>
public sealed record LoadAccount(string Component, int Used, IReadOnlyList<string> Missing, IReadOnlyList<string> Unused)
{
    public override string ToString() => $"{Component}: {Used} tensors used, {Missing.Count} missing, {Unused.Count} unused";
}

/// <summary>
/// A place in a checkpoint's key tree. Models ask it for tensors by name and shape, so the model's code is the name map.
/// Misses are collected; <see cref="ThrowIfIncomplete"/> reports all of them at once.
/// </summary>
public sealed class WeightScope
{
    private readonly Book book;
    private readonly string prefix;

    private WeightScope(Book book, string prefix)
    {
        this.book = book;
        this.prefix = prefix;
    }

    /// <param name="component">How messages call it: unet, vae, classifier.</param>
    public static WeightScope Of(Checkpoint checkpoint, string component, string prefix = "") => new(new Book(checkpoint, component), prefix);

    /// <summary>A place in no file: what a network asks for is listed, by the authors' spelling where there are several.</summary>
    internal static WeightScope Collector(List<(string Name, Shape Shape)> wanted) => new(new Book(Checkpoint.Empty(), "") { Wanted = wanted }, "");

    public WeightScope At(string name) => new(book, prefix + name + ".");

    /// <summary>The first of several spellings under which the file has anything; the first spelling where it has none.</summary>
    public WeightScope AtAny(params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
            if (book.HasPrefix(prefix + name + ".")) return At(name);
        return At(book.Wanted is null ? names[0] : names[^1]);
    }

    public bool Has(string name) => book.Checkpoint.TryGet(prefix + name, out _);

    /// <exception cref="ModelFileException">The file's tensor has another shape or a type that the engine does not compute with.</exception>
    public WeightRef Tensor(string name, Shape shape) => Find(name, shape, squeeze: false);

    /// <summary>As <see cref="Tensor"/>, also taking trailing extents of 1: a 1x1 convolution's weight as a matrix.</summary>
    public WeightRef TensorSqueezed(string name, Shape shape) => Find(name, shape, squeeze: true);

    /// <summary>Counts a tensor as used that files may hold but no result depends on: a table of indices, a head that is only trained.</summary>
    public void Ignore(string name)
    {
        if (Has(name)) book.Used.Add(prefix + name);
    }

    /// <summary>An error about this place, to be thrown by a model that cannot be built from it.</summary>
    public ModelFileException Error(string problem) => new(book.Checkpoint.Path, $"{book.Component}.{prefix}".TrimEnd('.'), problem);

    public LoadAccount Account() => new(book.Component, book.Used.Count, [.. book.Missing], [.. book.Checkpoint.Names.Where(n => !book.Used.Contains(n))]);

    /// <exception cref="ModelFileException">Tensors are missing: says how many, and the first of them.</exception>
    public void ThrowIfIncomplete()
    {
        if (book.Missing.Count == 0) return;
        string more = book.Missing.Count > 3 ? $" and {book.Missing.Count - 3} more" : "";
        throw new ModelFileException(
            book.Checkpoint.Path, $"{book.Component}.{book.Missing[0]}",
            $"is missing, with {book.Missing.Count} of {book.Missing.Count + book.Used.Count} tensors in all ({string.Join(", ", book.Missing.Take(3))}{more}); the weights do not belong to this config.json");
    }

    private WeightRef Find(string name, Shape shape, bool squeeze)
    {
        string key = prefix + name, full = $"{book.Component}.{key}";
        if (!book.Checkpoint.TryGet(key, out var entry))
        {
            if (book.Wanted is { } wanted) wanted.Add((key, shape));
            else if (!book.Missing.Contains(key)) book.Missing.Add(key);
            return new WeightRef(null, key, full, new TensorType(shape, DType.F32));
        }

        book.Used.Add(key);
        var dims = entry.Dims.AsSpan();
        while (squeeze && dims.Length > shape.Rank && dims[^1] == 1) dims = dims[..^1];
        if (!dims.SequenceEqual(shape.ToArray()))
            throw new ModelFileException(book.Checkpoint.FileOf(key).Path, full, $"expected {shape}, file has [{string.Join(", ", entry.Dims)}]");
        if (entry.Type.ToDType() is not { } type || !type.IsFloat())
            throw new ModelFileException(book.Checkpoint.FileOf(key).Path, full, $"is stored as {entry.Type.FileName()}; expected F32, F16, BF16 or F64");
        return new WeightRef(book.Checkpoint, key, full, new TensorType(shape, type));
    }

    private sealed class Book(Checkpoint checkpoint, string component)
    {
        private HashSet<string>? prefixes;

        /// <summary>Where not null, everything is missing and is listed here.</summary>
        public List<(string Name, Shape Shape)>? Wanted { get; init; }

        public Checkpoint Checkpoint { get; } = checkpoint;

        public string Component { get; } = component;

        public HashSet<string> Used { get; } = new(StringComparer.Ordinal);

        public List<string> Missing { get; } = [];

        public bool HasPrefix(string p)
        {
            if (prefixes is null)
            {
                prefixes = new(StringComparer.Ordinal);
                foreach (string name in Checkpoint.Names)
                    for (int dot = name.IndexOf('.', StringComparison.Ordinal); dot >= 0; dot = name.IndexOf('.', dot + 1)) prefixes.Add(name[..(dot + 1)]);
            }

            return prefixes.Contains(p);
        }
    }
}
