using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Runtime;

/// <summary>A weight made of numbers.</summary>
internal sealed class ArrayWeight(string name, Shape shape, double[] values, DType type = DType.F32) : IWeightSource
{
    public string Name => name;

    public TensorType Type => new(shape, type);

    public void Read(Span<byte> dst) => Interpreter.ToBytes(values, type, dst);
}

/// <summary>Runs a graph on a device and in the interpreter on the same numbers.</summary>
internal static class GraphRunner
{
    /// <summary>Every output on the device, widened. Arenas are poisoned first.</summary>
    public static Dictionary<string, double[]> OnDevice(Device device, Graph graph, IReadOnlyDictionary<string, double[]> inputs, bool fuse = true)
    {
        using var weights = device.CreateWeightStore();
        using var executable = device.Prepare(device.Plan(graph, fuse), weights);
        var buffers = new List<DeviceBuffer>();
        try
        {
            foreach (var (name, values) in inputs)
            {
                var type = graph.Nodes[graph.Inputs[name]].Type;
                var bytes = new byte[type.Bytes];
                Interpreter.ToBytes(values, type.DType, bytes);
                var buffer = device.Allocate(bytes.Length);
                buffers.Add(buffer);
                device.Upload(bytes, buffer);
                executable.Bind(name, buffer);
            }

            foreach (var (name, _) in graph.Outputs) Poison(device, executable.Output(name));
            executable.Run(Rate.Load);
            executable.Run(Rate.Request);
            executable.Run(Rate.Step);
            return executable.Plan.Graph.Outputs.ToDictionary(o => o.Name, o =>
            {
                var type = executable.Plan.Graph.Nodes[o.Id].Type;
                var bytes = new byte[type.Bytes];
                device.Download(executable.Output(o.Name), bytes);
                return Interpreter.FromBytes(bytes, type.DType);
            });
        }
        finally
        {
            foreach (var buffer in buffers) buffer.Dispose();
        }
    }

    /// <summary>Numbers that look random and are the same on every run; in [-1, 1).</summary>
    public static double[] Numbers(long count, int seed)
    {
        var random = new Random(seed);
        var values = new double[count];
        for (int i = 0; i < values.Length; i++) values[i] = (float)(random.NextDouble() * 2 - 1);
        return values;
    }

    /// <summary>Largest difference over the largest expected magnitude.</summary>
    public static double RelativeError(double[] expected, double[] got)
    {
        Assert.Equal(expected.Length, got.Length);
        double largest = 1e-30, error = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            largest = Math.Max(largest, Math.Abs(expected[i]));
            error = Math.Max(error, double.IsNaN(got[i]) ? double.PositiveInfinity : Math.Abs(expected[i] - got[i]));
        }

        return error / largest;
    }

    private static void Poison(Device device, DeviceBuffer buffer)
    {
        var bytes = new byte[buffer.Bytes];
        Array.Fill(bytes, (byte)0xFF);
        device.Upload(bytes, buffer);
    }
}
