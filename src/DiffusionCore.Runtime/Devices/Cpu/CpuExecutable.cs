using System.Diagnostics;
using System.Runtime.InteropServices;

namespace DiffusionCore.Runtime;

/// <summary>A plan with its arenas in host memory and every step bound. A run allocates nothing.</summary>
internal sealed unsafe class CpuExecutable : Executable
{
    private readonly CpuBuffer[] arenas = new CpuBuffer[3];
    private readonly CpuStep[][] steps = new CpuStep[3][];
    private readonly Dictionary<string, List<int>> inputNodes = [];
    private readonly Dictionary<string, CpuBuffer> outputs = [];
    private readonly HashSet<string> unbound = [];
    private readonly Dictionary<(int Node, int Operand), int> uses = [];
    private readonly WeightResidency residency;
    private readonly CpuWeightStream? stream;
    private byte** slots;
    private byte** weightSlots;

    public CpuExecutable(CpuDevice device, Plan plan, CpuWeightStore weights, long weightBytes)
        : base(plan)
    {
        residency = WeightResidency.Choose(PlacedUse.Of(plan), weights.Holds, weightBytes);
        weights.Reserve(residency.Resident);
        weights.Fill(device.Threads);
        weightSlots = (byte**)NativeMemory.AllocZeroed((nuint)Math.Max(residency.Uses.Count, 1), (nuint)sizeof(byte*));
        if (residency.RingBytes > 0) stream = new CpuWeightStream(residency, device.Threads);
        for (int i = 0; i < residency.Uses.Count; i++)
        {
            var use = residency.Uses[i];
            uses[(use.Node, use.Operand)] = i;
            weightSlots[i] = residency.Streamed.Contains(use.Use) ? stream!.At(i) : weights.At(use.Use);
        }

        var nodes = plan.Graph.Nodes;
        slots = (byte**)NativeMemory.AllocZeroed((nuint)nodes.Count, (nuint)sizeof(byte*));
        for (int rate = 0; rate < 3; rate++) arenas[rate] = new CpuBuffer(plan.Segments[rate].ArenaBytes);

        foreach (var node in nodes)
        {
            var root = node;
            while (root.Op is ReshapeOp) root = nodes[root.Inputs[0]];
            var place = plan.Places[node.Id];
            if (root.Op is InputOp input)
            {
                if (!inputNodes.TryGetValue(input.InputName, out var list)) inputNodes[input.InputName] = list = [];
                list.Add(node.Id);
                unbound.Add(input.InputName);
            }
            else if (root.Op is ConstantOp constant)
            {
                slots[node.Id] = Constant(constant).Pointer;
            }
            else if (place.Storage == Storage.Arena)
            {
                slots[node.Id] = ArenaAt(place.Rate, place.Offset);
            }
        }

        for (int rate = 0; rate < 3; rate++)
            steps[rate] = [.. plan.Segments[rate].Steps.Select(s => ((CpuImplementation)s.Implementation).Build(new CpuBuild(device, this, s)))];
        foreach (var (name, id) in plan.Graph.Outputs)
            outputs[name] = slots[id] != null ? new CpuBuffer(slots[id], nodes[id].Type.Bytes) : throw new ArgumentException($"output '{name}' is an input or a weight itself");
        Run(Rate.Load);
    }

    public override long AllocatedBytes => arenas.Sum(a => a.Bytes);

    public override long StreamedBytes => residency.StreamedBytes;

    public override long StreamBufferBytes => residency.RingBytes;

    /// <summary>The place of the pointer to a computed value or an input.</summary>
    public byte** Slot(int id) => slots + id;

    /// <summary>The place of the pointer to a step's weight; it never changes.</summary>
    public byte** WeightSlot(int node, int operand, WeightForm form)
    {
        int use = uses[(node, operand)];
        var planned = residency.Uses[use].Use;
        return planned.Form == form ? weightSlots + use : throw new InvalidOperationException($"{planned.Source.Name} was planned as {planned.Form} and is read as {form}; the implementation's Form says otherwise");
    }

    public byte* ArenaAt(Rate rate, long offset) => arenas[(int)rate].Pointer + offset;

    public override void Bind(string input, DeviceBuffer buffer)
    {
        if (!inputNodes.TryGetValue(input, out var ids)) throw new ArgumentException($"the plan has no input '{input}'; it has {string.Join(", ", inputNodes.Keys)}", nameof(input));
        long needed = Plan.Graph.Nodes[ids[0]].Type.Bytes;
        if (buffer is not CpuBuffer host) throw new ArgumentException($"input '{input}' needs host memory", nameof(buffer));
        if (host.Bytes < needed) throw new ArgumentException($"input '{input}' needs {needed} bytes, the buffer has {host.Bytes}", nameof(buffer));
        foreach (int id in ids) slots[id] = host.Pointer;
        unbound.Remove(input);
    }

    public override void Run(Rate rate) => Run(rate, timed: false, []);

    public override void RunTimed(Rate rate, Span<double> seconds) => Run(rate, timed: true, seconds);

    // A step's time includes its wait for weights.
    private void Run(Rate rate, bool timed, Span<double> seconds)
    {
        CheckBound(rate);
        var list = steps[(int)rate];
        var feed = stream is not null && stream.Feeds(rate) ? stream : null;
        feed?.Begin(rate);
        try
        {
            long last = timed ? Stopwatch.GetTimestamp() : 0;
            for (int i = 0; i < list.Length; i++)
            {
                feed?.Await(i);
                list[i].Run();
                feed?.Done(i);
                if (!timed) continue;
                long now = Stopwatch.GetTimestamp();
                seconds[i] += (now - last) / (double)Stopwatch.Frequency;
                last = now;
            }
        }
        finally
        {
            feed?.End();
        }
    }

    public override DeviceBuffer Output(string name) =>
        outputs.TryGetValue(name, out var buffer) ? buffer : throw new ArgumentException($"the plan has no output '{name}'; it has {string.Join(", ", outputs.Keys)}", nameof(name));

    public override void Dispose()
    {
        if (slots == null) return;
        stream?.Dispose();
        NativeMemory.Free(slots);
        NativeMemory.Free(weightSlots);
        slots = weightSlots = null;
        foreach (var arena in arenas) arena.Dispose();
        foreach (var buffer in constants) buffer.Dispose();
    }

    private readonly List<CpuBuffer> constants = [];

    private CpuBuffer Constant(ConstantOp constant)
    {
        var buffer = new CpuBuffer(constant.Data.Length * sizeof(float));
        constant.Data.CopyTo(buffer.Span<float>());
        constants.Add(buffer);
        return buffer;
    }

    private void CheckBound(Rate rate)
    {
        ObjectDisposedException.ThrowIf(slots == null, this);
        if (unbound.Count == 0) return;
        foreach (string name in unbound)
            if (Plan.Graph.Nodes[Plan.Graph.Inputs[name]].Rate <= rate && rate != Rate.Load) throw new InvalidOperationException($"input '{name}' is not bound");
    }
}
