namespace DiffusionCore.Runtime;

/// <summary>Weights in host memory: matrices and kernels packed in their stored type, vectors widened to F32, tables as they are.</summary>
/// <remarks>
/// What a plan needs is reserved in one block, which goes back to the system whole; <see cref="Fill"/> then reads all of it, by parts, on several
/// threads, straight into its packed place. A file is read once, and beside the weights there is one part of memory per thread.
/// </remarks>
public sealed unsafe class CpuWeightStore : WeightStore
{
    private readonly Dictionary<WeightUse, nint> held = [];
    private readonly List<CpuBuffer> blocks = [];
    private readonly List<WeightUse> pending = [];
    private readonly Lock access = new();
    private long bytes;

    public override long Bytes => bytes;

    /// <summary>Whether a weight has its memory here.</summary>
    internal bool Holds(WeightUse use)
    {
        lock (access) return held.ContainsKey(use);
    }

    /// <summary>Where a weight is.</summary>
    internal byte* At(WeightUse use)
    {
        lock (access) return (byte*)held[use];
    }

    /// <summary>Gives weights their memory; unread before <see cref="Fill"/>.</summary>
    internal void Reserve(IEnumerable<WeightUse> uses)
    {
        lock (access)
        {
            WeightUse[] missing = [.. uses.Where(u => !held.ContainsKey(u)).Distinct()];
            if (missing.Length == 0) return;
            foreach (var use in missing)
                if (!use.Source.Format.IsPlain) throw new DeviceException($"{use.Source.Name}: {use.Source.Format} are not supported on the CPU yet; use plain F32, F16 or BF16 weights");
            var block = CpuBuffer.Uninitialized(missing.Sum(u => Passes.ArenaPass.Align(u.Bytes)));
            blocks.Add(block);
            bytes += block.Bytes;
            byte* at = block.Pointer;
            foreach (var use in missing)
            {
                held[use] = (nint)at;
                pending.Add(use);
                at += Passes.ArenaPass.Align(use.Bytes);
            }
        }
    }

    /// <summary>Reads everything that was reserved since the last time.</summary>
    /// <param name="threads">How many read at once.</param>
    internal void Fill(int threads)
    {
        // Whoever comes second waits here until the first has read what both want.
        lock (access)
        {
            if (pending.Count == 0) return;
            var parts = new List<(WeightUse Use, nint Target, long FirstRow, long Rows)>();
            foreach (var use in pending)
            {
                long rows = use.PartRows;
                if (rows == 0)
                {
                    // Cut, turned or computed: its source decides how it is read, and may not like company.
                    ReadWhole(use, (byte*)held[use]);
                    continue;
                }

                for (long first = 0; first < use.Rows; first += rows) parts.Add((use, held[use], first, Math.Min(rows, use.Rows - first)));
            }

            try
            {
                Parallel.ForEach(
                    parts, new ParallelOptions { MaxDegreeOfParallelism = Math.Max(threads, 1) }, () => Array.Empty<byte>(),
                    (part, _, memory) => ReadPart(part.Use, (byte*)part.Target, part.FirstRow, part.Rows, memory), _ => { });
            }
            catch (AggregateException e) when (e.InnerExceptions[0] is DiffusionCoreException or IOException)
            {
                // Of several failures the first is the one to report; what is pending stays so.
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
            }

            pending.Clear();
        }
    }

    public override void Dispose()
    {
        lock (access)
        {
            foreach (var block in blocks) block.Dispose();
            blocks.Clear();
            held.Clear();
            pending.Clear();
            bytes = 0;
        }
    }

    /// <summary>Reads rows of a weight into its place. For weights that have <see cref="WeightUse.PartRows"/>.</summary>
    /// <param name="target">Of the whole weight.</param>
    /// <param name="memory">What the last call returned: memory of this thread.</param>
    internal static byte[] ReadPart(WeightUse use, byte* target, long firstRow, long rows, byte[] memory)
    {
        int size = use.Source.Type.DType.Size();
        long start = firstRow * use.RowElements, count = rows * use.RowElements;
        if (use.Form == WeightForm.Raw || (use.Form == WeightForm.Float && size == sizeof(float)))
        {
            // Parts of a tensor in the form of its file go where they belong.
            Read(use.Source, start * size, new Span<byte>(target + (start * size), checked((int)(count * size))));
            return memory;
        }

        if (memory.Length < count * size) memory = new byte[count * size];
        Read(use.Source, start * size, memory.AsSpan(0, (int)(count * size)));
        fixed (byte* src = memory)
        {
            if (use.Form == WeightForm.Float) PackedWeights.Widen(src, WeightUse.PackedType(use.Source.Type.DType), (float*)target + start, count);
            else Pack(use, src, firstRow, rows, target);
        }

        return memory;
    }

    private static void Read(IWeightSource source, long start, Span<byte> dst)
    {
        if (!source.TryReadPart(start, dst)) throw new InvalidOperationException($"{source.Name} is read by parts at first and then not");
    }

    private static void Pack(WeightUse use, byte* src, long firstRow, long rows, byte* target)
    {
        var type = WeightUse.PackedType(use.Source.Type.DType);
        long size = type == WeightType.F32 ? 4 : 2;
        PackedWeights.Pack(src, type, (int)rows, (int)(use.RowElements / use.Taps), use.Taps, target + (firstRow * use.RowElements * size));
    }

    private static void ReadWhole(WeightUse use, byte* target)
    {
        if (use.Form == WeightForm.Raw)
        {
            use.Source.Read(new Span<byte>(target, checked((int)use.Bytes)));
            return;
        }

        var type = use.Source.Type.DType;
        using var raw = new CpuBuffer(use.Source.Type.Bytes);
        use.Source.Read(raw.Span<byte>());
        if (type is DType.F32 or DType.F16 or DType.BF16)
        {
            if (use.Form == WeightForm.Packed) Pack(use, raw.Pointer, 0, use.Rows, target);
            else if (type == DType.F32) Buffer.MemoryCopy(raw.Pointer, target, use.Bytes, raw.Bytes);
            else PackedWeights.Widen(raw.Pointer, WeightUse.PackedType(type), (float*)target, use.Source.Type.Shape.Count);
            return;
        }

        double[] exact = Interpreter.FromBytes(raw.Span<byte>(), type);
        using var floats = new CpuBuffer(exact.Length * (long)sizeof(float));
        for (int i = 0; i < exact.Length; i++) floats.Floats[i] = (float)exact[i];
        if (use.Form == WeightForm.Packed) Pack(use, floats.Pointer, 0, use.Rows, target);
        else Buffer.MemoryCopy(floats.Pointer, target, use.Bytes, floats.Bytes);
    }
}
