using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>A network that runs once per request, such as a text encoder or a decoder: inputs by name in, one output out.</summary>
internal sealed class PreparedNetwork : IDisposable
{
    private readonly Device device;
    private readonly Executable executable;
    private readonly Dictionary<string, DeviceBuffer> inputs = [];

    /// <param name="weightBytes">That its weights may take.</param>
    public PreparedNetwork(Device device, Plan plan, WeightStore weights, long weightBytes)
    {
        this.device = device;
        executable = device.Prepare(plan, weights, weightBytes);
        foreach (var node in executable.Plan.Graph.Nodes)
        {
            if (node.Op is not InputOp input || inputs.ContainsKey(input.InputName)) continue;
            var buffer = device.Allocate(node.Type.Bytes);
            inputs.Add(input.InputName, buffer);
            executable.Bind(input.InputName, buffer);
        }
    }

    /// <summary>Bytes held beside weights that stay in the store.</summary>
    public long HeldBytes => executable.AllocatedBytes + executable.StreamBufferBytes + inputs.Values.Sum(b => b.Bytes);

    /// <summary>Bytes of weights that are read whenever it runs.</summary>
    public long StreamedBytes => executable.StreamedBytes;

    public void Set<T>(string input, ReadOnlySpan<T> values)
        where T : unmanaged => device.Upload(MemoryMarshal.AsBytes(values), inputs[input]);

    public void Run()
    {
        executable.Run(Rate.Request);
        executable.Run(Rate.Step);
    }

    /// <exception cref="Models.NonFiniteException">A number is not finite: the error names <paramref name="stage"/>.</exception>
    public float[] Output(string name, string stage)
    {
        var graph = executable.Plan.Graph;
        var values = new float[graph.Nodes[graph.Outputs.First(o => o.Name == name).Id].Type.Shape.Count];
        device.Download(executable.Output(name), MemoryMarshal.AsBytes(values.AsSpan()));
        for (int i = 0; i < values.Length; i++)
            if (!float.IsFinite(values[i])) throw new Models.NonFiniteException(stage, i);
        return values;
    }

    public void Dispose()
    {
        executable.Dispose();
        foreach (var buffer in inputs.Values) buffer.Dispose();
    }
}
