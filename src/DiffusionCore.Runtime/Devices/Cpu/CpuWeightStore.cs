namespace DiffusionCore.Runtime;

/// <summary>Weights in host memory: matrices and kernels packed in their stored type, vectors widened to F32, tables as they are.</summary>
/// <remarks>
/// Asking for a weight gives it its memory and a note of what is to be read; <see cref="Fill"/> then reads all of it, by parts, on several
/// threads, straight into its packed place. A file is read once, and beside the weights there is one part of memory per thread.
/// </remarks>
public sealed unsafe class CpuWeightStore : WeightStore
{
    // Read at once by a thread: what a core's cache holds beside the place that it is packed into.
    private const int PartBytes = 1 << 20;

    private readonly Dictionary<(IWeightSource, Form), CpuBuffer> held = [];
    private readonly List<Job> pending = [];
    private readonly Lock access = new();
    private long bytes;

    private enum Form
    {
        Packed,
        Float,
        Raw,
    }

    public override long Bytes => bytes;

    /// <summary>[outputs][inputs][taps] packed for the matrix kernels, in the stored type where they widen it, else in F32. Unread before <see cref="Fill"/>.</summary>
    internal CpuBuffer Packed(IWeightSource source, int outputs, int inputs, int taps) =>
        Get(source, Form.Packed, PackedWeights.Bytes(outputs, inputs, taps, PackedType(source.Type.DType)), outputs, (long)inputs * taps, taps);

    internal CpuBuffer Float(IWeightSource source) => Get(source, Form.Float, source.Type.Shape.Count * sizeof(float));

    internal CpuBuffer Raw(IWeightSource source) => Get(source, Form.Raw, source.Type.Bytes);

    internal static WeightType PackedType(DType type) => type switch
    {
        DType.F16 => WeightType.F16,
        DType.BF16 => WeightType.BF16,
        _ => WeightType.F32,
    };

    /// <summary>Reads everything that was asked for since the last time.</summary>
    /// <param name="threads">How many read at once.</param>
    internal void Fill(int threads)
    {
        // Whoever comes second waits here until the first has read what both want.
        lock (access)
        {
            if (pending.Count == 0) return;
            var parts = new List<(Job Job, long FirstRow, long Rows)>();
            foreach (var job in pending)
            {
                long rows = PartRows(job);
                if (rows == 0)
                {
                    // Cut, turned or computed: its source decides how it is read, and may not like company.
                    ReadWhole(job);
                    continue;
                }

                for (long first = 0; first < job.Rows; first += rows) parts.Add((job, first, Math.Min(rows, job.Rows - first)));
            }

            try
            {
                Parallel.ForEach(
                    parts, new ParallelOptions { MaxDegreeOfParallelism = Math.Max(threads, 1) }, () => Array.Empty<byte>(),
                    (part, _, memory) => ReadPart(part.Job, part.FirstRow, part.Rows, memory), _ => { });
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
            foreach (var buffer in held.Values) buffer.Dispose();
            held.Clear();
            pending.Clear();
            bytes = 0;
        }
    }

    // Rows of a part; 0 for what is read whole. Whole panels, whatever width they have here.
    private static long PartRows(in Job job)
    {
        if (job.Source.Type.DType is not (DType.F32 or DType.F16 or DType.BF16) || job.Rows == 0 || !job.Source.TryReadPart(0, default)) return 0;
        long row = job.RowElements * job.Source.Type.DType.Size();
        return Math.Max(1, PartBytes / row / PackedWeights.PartRows) * PackedWeights.PartRows;
    }

    private static byte[] ReadPart(in Job job, long firstRow, long rows, byte[] memory)
    {
        int size = job.Source.Type.DType.Size();
        long start = firstRow * job.RowElements, count = rows * job.RowElements;
        if (job.Form == Form.Raw || (job.Form == Form.Float && size == sizeof(float)))
        {
            // Parts of a tensor in the form of its file go where they belong.
            Read(job.Source, start * size, new Span<byte>(job.Target.Pointer + (start * size), checked((int)(count * size))));
            return memory;
        }

        if (memory.Length < count * size) memory = new byte[count * size];
        Read(job.Source, start * size, memory.AsSpan(0, (int)(count * size)));
        fixed (byte* src = memory)
        {
            if (job.Form == Form.Float) PackedWeights.Widen(src, PackedType(job.Source.Type.DType), job.Target.Floats + start, count);
            else Pack(job, src, firstRow, rows);
        }

        return memory;
    }

    private static void Read(IWeightSource source, long start, Span<byte> dst)
    {
        if (!source.TryReadPart(start, dst)) throw new InvalidOperationException($"{source.Name} is read by parts at first and then not");
    }

    private static void Pack(in Job job, byte* src, long firstRow, long rows)
    {
        var type = PackedType(job.Source.Type.DType);
        long size = type == WeightType.F32 ? 4 : 2;
        PackedWeights.Pack(src, type, (int)rows, (int)(job.RowElements / job.Taps), job.Taps, job.Target.Pointer + (firstRow * job.RowElements * size));
    }

    private static void ReadWhole(in Job job)
    {
        if (job.Form == Form.Raw)
        {
            job.Source.Read(job.Target.Span<byte>());
            return;
        }

        var type = job.Source.Type.DType;
        using var raw = new CpuBuffer(job.Source.Type.Bytes);
        job.Source.Read(raw.Span<byte>());
        if (type is DType.F32 or DType.F16 or DType.BF16)
        {
            if (job.Form == Form.Packed) Pack(job, raw.Pointer, 0, job.Rows);
            else if (type == DType.F32) Buffer.MemoryCopy(raw.Pointer, job.Target.Pointer, job.Target.Bytes, raw.Bytes);
            else PackedWeights.Widen(raw.Pointer, PackedType(type), job.Target.Floats, job.Source.Type.Shape.Count);
            return;
        }

        double[] exact = Interpreter.FromBytes(raw.Span<byte>(), type);
        using var floats = new CpuBuffer(exact.Length * (long)sizeof(float));
        for (int i = 0; i < exact.Length; i++) floats.Floats[i] = (float)exact[i];
        if (job.Form == Form.Packed) Pack(job, floats.Pointer, 0, job.Rows);
        else Buffer.MemoryCopy(floats.Pointer, job.Target.Pointer, job.Target.Bytes, floats.Bytes);
    }

    private CpuBuffer Get(IWeightSource source, Form form, long size, long rows = -1, long rowElements = 1, int taps = 1)
    {
        lock (access)
        {
            if (held.TryGetValue((source, form), out var buffer)) return buffer;
            if (!source.Format.IsPlain) throw new DeviceException($"{source.Name}: {source.Format} are not supported on the CPU yet; use plain F32, F16 or BF16 weights");
            buffer = CpuBuffer.Uninitialized(size);
            held[(source, form)] = buffer;
            bytes += buffer.Bytes;
            pending.Add(new Job(source, form, buffer, rows < 0 ? source.Type.Shape.Count : rows, rowElements, taps));
            return buffer;
        }
    }

    /// <param name="Rows">Parts are cut between rows: outputs of a matrix, else elements.</param>
    private readonly record struct Job(IWeightSource Source, Form Form, CpuBuffer Target, long Rows, long RowElements, int Taps);
}
