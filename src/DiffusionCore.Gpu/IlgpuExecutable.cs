using System.Diagnostics;
using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using ILGPU;

namespace DiffusionCore.Gpu;

/// <summary>A plan with its arenas in device memory and every launch bound. Launches follow each other in one stream; a download waits for them.</summary>
internal sealed class IlgpuExecutable : Executable
{
    private readonly IlgpuDevice device;
    private readonly IlgpuBuffer[] arenas = new IlgpuBuffer[3];
    private readonly Slot[] slots;
    private readonly bool[] filled;
    private readonly Action[][] steps = new Action[3][];
    private readonly Dictionary<string, List<int>> inputNodes = [];
    private readonly Dictionary<string, IlgpuBuffer> outputs = [];
    private readonly HashSet<string> unbound = [];
    private readonly List<IlgpuBuffer> constants = [];
    private readonly List<Flag>[] flags = [[], [], []];
    private bool disposed;

    public IlgpuExecutable(IlgpuDevice device, Plan plan, IlgpuWeightStore weights)
        : base(plan)
    {
        this.device = device;
        Weights = weights;
        var nodes = plan.Graph.Nodes;
        slots = [.. nodes.Select(_ => new Slot())];
        filled = new bool[slots.Length];
        try
        {
            for (int rate = 0; rate < 3; rate++) arenas[rate] = device.AllocateMemory(plan.Segments[rate].ArenaBytes, "the memory of the plan");
            foreach (var node in nodes) Place(node);
            for (int rate = 0; rate < 3; rate++)
                steps[rate] = [.. plan.Segments[rate].Steps.Select(s => ((IlgpuImplementation)s.Implementation).Build(new IlgpuBuild(device, this, s)))];
            foreach (var (name, id) in plan.Graph.Outputs)
                outputs[name] = filled[id] ? new IlgpuBuffer(device, slots[id].Bytes) : throw new ArgumentException($"output '{name}' is an input or a weight itself");
            Run(Rate.Load);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private sealed record Flag(IlgpuBuffer Buffer, Func<DiffusionCoreException> Error);

    public IlgpuWeightStore Weights { get; }

    public override long AllocatedBytes => arenas.Sum(a => a.Bytes);

    /// <summary>The place of a node's bytes. A weight read as numbers gets its F32 form here, at first use.</summary>
    public Slot SlotOf(int id)
    {
        if (!filled[id] && IlgpuBuild.SourceOf(Plan.Graph, id) is { } source)
        {
            var buffer = Weights.Float(source);
            slots[id].Bytes = buffer.View.SubView(0, buffer.Bytes);
            filled[id] = true;
        }

        return slots[id];
    }

    public ArrayView<T> Constant<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        var bytes = MemoryMarshal.AsBytes(values);
        var buffer = device.AllocateMemory(bytes.Length, "a constant");
        constants.Add(buffer);
        device.Upload(bytes, buffer);
        return buffer.As<T>();
    }

    public ArrayView<int> Failure(Rate rate, Func<DiffusionCoreException> error)
    {
        var buffer = device.AllocateMemory(sizeof(int), "a flag");
        constants.Add(buffer);
        flags[(int)rate].Add(new Flag(buffer, error));
        return buffer.As<int>();
    }

    public override void Bind(string input, DeviceBuffer buffer)
    {
        if (!inputNodes.TryGetValue(input, out var ids)) throw new ArgumentException($"the plan has no input '{input}'; it has {string.Join(", ", inputNodes.Keys)}", nameof(input));
        long needed = Plan.Graph.Nodes[ids[0]].Type.Bytes;
        var own = device.Own(buffer);
        if (own.Bytes < needed) throw new ArgumentException($"input '{input}' needs {needed} bytes, the buffer has {own.Bytes}", nameof(buffer));
        foreach (int id in ids) slots[id].Bytes = own.View;
        unbound.Remove(input);
    }

    public override void Run(Rate rate)
    {
        CheckBound(rate);
        var list = steps[(int)rate];
        int at = 0;
        try
        {
            device.Accelerator.Bind();
            for (; at < list.Length; at++) list[at]();
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw Failed(rate, at, e);
        }

        CheckFlags(rate);
    }

    public override void RunTimed(Rate rate, Span<double> seconds)
    {
        CheckBound(rate);
        var list = steps[(int)rate];
        device.Synchronize();
        long last = Stopwatch.GetTimestamp();
        int at = 0;
        try
        {
            for (; at < list.Length; at++)
            {
                list[at]();
                device.Synchronize();
                long now = Stopwatch.GetTimestamp();
                seconds[at] += (now - last) / (double)Stopwatch.Frequency;
                last = now;
            }
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw Failed(rate, at, e);
        }

        CheckFlags(rate);
    }

    public override DeviceBuffer Output(string name) =>
        outputs.TryGetValue(name, out var buffer) ? buffer : throw new ArgumentException($"the plan has no output '{name}'; it has {string.Join(", ", outputs.Keys)}", nameof(name));

    public override void Dispose()
    {
        if (disposed) return;
        disposed = true;
        foreach (var arena in arenas) arena?.Dispose();
        foreach (var buffer in constants) buffer.Dispose();
    }

    private void Place(Node node)
    {
        var nodes = Plan.Graph.Nodes;
        var root = node;
        while (root.Op is ReshapeOp) root = nodes[root.Inputs[0]];
        var place = Plan.Places[node.Id];
        if (root.Op is InputOp input)
        {
            if (!inputNodes.TryGetValue(input.InputName, out var list)) inputNodes[input.InputName] = list = [];
            list.Add(node.Id);
            unbound.Add(input.InputName);
        }
        else if (root.Op is ConstantOp constant)
        {
            slots[node.Id].Bytes = Constant<float>(constant.Data).Cast<byte>();
            filled[node.Id] = true;
        }
        else if (place.Storage == Storage.Arena)
        {
            slots[node.Id].Bytes = arenas[(int)place.Rate].View.SubView(place.Offset, node.Type.Bytes);
            filled[node.Id] = true;
        }
    }

    private DiffusionCoreException Failed(Rate rate, int at, Exception e)
    {
        var node = Plan.Segments[(int)rate].Steps[at].Node;
        return IlgpuErrors.Wrap(device, $"{node.Op.Name}{(node.Layer.Length > 0 ? $" in {node.Layer}" : "")}", e);
    }

    private void CheckFlags(Rate rate)
    {
        foreach (var flag in flags[(int)rate])
        {
            int value = 0;
            device.Download(flag.Buffer, MemoryMarshal.AsBytes(new Span<int>(ref value)));
            if (value == 0) continue;
            value = 0;
            device.Upload(MemoryMarshal.AsBytes(new Span<int>(ref value)), flag.Buffer);
            throw flag.Error();
        }
    }

    private void CheckBound(Rate rate)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (unbound.Count == 0) return;
        foreach (string name in unbound)
            if (Plan.Graph.Nodes[Plan.Graph.Inputs[name]].Rate <= rate && rate != Rate.Load) throw new InvalidOperationException($"input '{name}' is not bound");
    }
}
