using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Runtime;

/// <summary>A plan whose weights are read from their file as it runs computes what it computes with them in memory.</summary>
public sealed class WeightStreamTests : IDisposable
{
    private const int Layers = 9, Width = 96;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(DType.F16, 1)]
    [InlineData(DType.F16, 2)]
    [InlineData(DType.BF16, 2)]
    [InlineData(DType.F32, 3)]
    public void Streamed_weights_give_the_bytes_of_resident_ones_at_every_size(DType type, int threads)
    {
        using var file = Checkpoint.Open(Write(type));
        using var device = new CpuDevice(threads);
        var plan = device.Plan(Record(file));
        var needs = device.Weights(plan);
        Assert.True(needs.Least < needs.All / 2, $"{needs}");
        byte[] resident = Run(device, plan, long.MaxValue, out long none, out _);
        Assert.Equal(0, none);
        long before = long.MaxValue;
        for (int tenth = 0; tenth <= 10; tenth++)
        {
            long bytes = needs.Least + ((needs.All - needs.Least) * tenth / 10);
            Assert.Equal(resident, Run(device, plan, bytes, out long streamed, out long held));
            Assert.True(held <= bytes, $"{held} of {bytes}");
            Assert.True(streamed <= before, $"{tenth}: {streamed} after {before}");
            Assert.Equal(tenth == 10, streamed == 0);
            before = streamed;
        }
    }

    [Fact]
    public void Less_than_the_largest_layer_is_refused_with_the_sizes()
    {
        using var file = Checkpoint.Open(Write(DType.F16));
        using var device = new CpuDevice(1);
        using var store = device.CreateWeightStore();
        var plan = device.Plan(Record(file));
        Assert.Contains("MB", Assert.Throws<MemoryException>(() => device.Prepare(plan, store, device.Weights(plan).Least - 64)).Message, StringComparison.Ordinal);
        Assert.Equal(0, store.Bytes);
    }

    [Fact]
    public void A_file_that_gets_shorter_ends_the_run_and_names_the_tensor()
    {
        string path = Write(DType.F16);
        using var file = Checkpoint.Open(path);
        using var device = new CpuDevice(2);
        using var store = device.CreateWeightStore();
        var plan = device.Plan(Record(file));
        using var executable = device.Prepare(plan, store, device.Weights(plan).Least);
        using DeviceBuffer x = device.Allocate(4 * Width * sizeof(float)), c = device.Allocate(Width * sizeof(float));
        executable.Bind("x", x);
        executable.Bind("c", c);
        executable.Run(Rate.Step);
        using (var cut = new FileStream(path, FileMode.Open)) cut.SetLength(cut.Length / 2);
        // It is asked again, and answers the same.
        for (int i = 0; i < 2; i++) Assert.Contains("w.", Assert.Throws<ModelFileException>(() => executable.Run(Rate.Step)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_step_that_fails_ends_the_reading_and_the_next_run_is_right()
    {
        using var file = Checkpoint.Open(Write(DType.F16));
        var g = new Graph();
        var scope = WeightScope.Of(file, "w");
        var y = g.Embedding(g.Input("ids", new Shape(2), DType.I64, Rate.Step), g.Weight(scope.Tensor("0", new Shape(Width, Width))));
        for (int i = 1; i < Layers; i++) y = g.Linear(y, g.Weight(scope.Tensor($"{i}", new Shape(Width, Width))));
        g.Output("y", y);
        using var device = new CpuDevice(2);
        using var store = device.CreateWeightStore();
        var plan = device.Plan(g);
        using var executable = device.Prepare(plan, store, device.Weights(plan).Least);
        using var ids = device.Allocate(2 * sizeof(long));
        executable.Bind("ids", ids);
        byte[] right = Result();
        device.Upload(BitConverter.GetBytes((long)Width), ids);
        Assert.Throws<UsageException>(() => executable.Run(Rate.Step));
        device.Upload(new byte[sizeof(long)], ids);
        Assert.Equal(right, Result());

        byte[] Result()
        {
            executable.Run(Rate.Step);
            var bytes = new byte[2 * Width * sizeof(float)];
            device.Download(executable.Output("y"), bytes);
            return bytes;
        }
    }

    // Every rate has weights; one tensor is read twice, one as a kernel and one as numbers.
    private static Graph Record(Checkpoint file)
    {
        var g = new Graph();
        var scope = WeightScope.Of(file, "w");
        Value Weight(int i) => g.Weight(scope.Tensor($"{i}", new Shape(Width, Width)));
        var first = scope.Tensor("0", new Shape(Width, Width));
        var loaded = g.Linear(g.Constant([.. Enumerable.Range(0, Width).Select(i => i / (float)Width)], new Shape(1, Width)), g.Weight(first));
        var asked = g.Linear(g.Input("c", new Shape(1, Width), DType.F32, Rate.Request), Weight(1));
        var y = g.Plus(g.Plus(g.Input("x", new Shape(4, Width)), loaded), asked);
        for (int i = 2; i < Layers; i++) y = g.Linear(y, Weight(i), g.Weight(scope.Tensor("bias", new Shape(Width))));
        y = g.Linear(y, g.Weight(first));
        var map = g.Reshape(y, 1, 2, 2, Width);
        map = g.Conv2d(map, g.Weight(scope.Tensor("kernel", new Shape(Width, Width, 3, 3))), null, new Conv2dOp(false, PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1));
        g.Output("y", g.Plus(g.Reshape(map, 4, Width), g.Slice(g.Cast(Weight(3), DType.F32), 0, 0, 4)));
        return g;
    }

    private string Write(DType type)
    {
        var tensors = Enumerable.Range(0, Layers).Select(i => new ArrayWeight($"{i}", new Shape(Width, Width), [.. GraphRunner.Numbers(Width * Width, i).Select(v => v / 8)], type))
            .Append(new ArrayWeight("kernel", new Shape(Width, Width, 3, 3), GraphRunner.Numbers(Width * Width * 9, 20), type))
            .Append(new ArrayWeight("bias", new Shape(Width), GraphRunner.Numbers(Width, 21), type));
        SafetensorsWriter.Write(folder["w.safetensors"], tensors.Select(w =>
        {
            var bytes = new byte[w.Type.Bytes];
            w.Read(bytes);
            return new TensorData(w.Name, StorageTypes.FromDType(type), w.Type.Shape.ToArray(), bytes);
        }));
        return folder["w.safetensors"];
    }

    private static byte[] Run(Device device, Plan plan, long bytes, out long streamed, out long held)
    {
        using var store = device.CreateWeightStore();
        using var executable = device.Prepare(plan, store, bytes);
        (streamed, held) = (executable.StreamedBytes, store.Bytes + executable.StreamBufferBytes);
        using DeviceBuffer x = device.Allocate(4 * Width * sizeof(float)), c = device.Allocate(Width * sizeof(float));
        device.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes(GraphRunner.Numbers(4 * Width, 30).Select(v => (float)v).ToArray().AsSpan()), x);
        device.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes(GraphRunner.Numbers(Width, 31).Select(v => (float)v).ToArray().AsSpan()), c);
        executable.Bind("x", x);
        executable.Bind("c", c);
        var results = new byte[3][];
        executable.Run(Rate.Request);
        for (int i = 0; i < results.Length; i++)
        {
            results[i] = new byte[4 * Width * sizeof(float)];
            executable.Run(Rate.Step);
            device.Download(executable.Output("y"), results[i]);
            Assert.Equal(results[0], results[i]);
        }

        return results[0];
    }
}
