using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Runtime;

/// <summary>Weights read by parts on several threads are the weights read whole.</summary>
public sealed class WeightFillTests
{
    [Theory]
    [InlineData(DType.F16, 1)]
    [InlineData(DType.F16, 2)]
    [InlineData(DType.BF16, 3)]
    [InlineData(DType.F32, 2)]
    [InlineData(DType.F64, 2)]
    public void Parts_give_the_same_numbers_as_the_whole(DType type, int threads)
    {
        // 1010 outputs: several parts of whole panels, and a last panel that is not full; 520 inputs x 9 taps beside it.
        using var folder = new TemporaryFolder();
        var matrix = new ArrayWeight("matrix", new Shape(1010, 700), GraphRunner.Numbers(1010 * 700, 1), type);
        var kernel = new ArrayWeight("kernel", new Shape(130, 520, 3, 3), GraphRunner.Numbers(130 * 520 * 9, 2), type);
        var table = new ArrayWeight("table", new Shape(900, 800), GraphRunner.Numbers(900 * 800, 3), type);
        var bias = new ArrayWeight("bias", new Shape(1010), GraphRunner.Numbers(1010, 4), type);
        SafetensorsWriter.Write(folder["w.safetensors"], new[] { matrix, kernel, table, bias }.Select(Stored));
        using var file = Checkpoint.Open(folder["w.safetensors"]);
        var scope = WeightScope.Of(file, "w");
        using var device = new CpuDevice(threads);
        var byParts = Run(device, w => scope.Tensor(w.Name, w.Type.Shape));
        var whole = Run(device, w => w);
        foreach (string name in whole.Keys) Assert.Equal(whole[name], byParts[name]);

        Dictionary<string, double[]> Run(CpuDevice on, Func<IWeightSource, IWeightSource> source)
        {
            var g = new Graph();
            var x = g.Input("x", new Shape(3, 700), DType.F32, Rate.Step);
            var map = g.Input("map", new Shape(1, 5, 4, 520), DType.F32, Rate.Step);
            var ids = g.Input("ids", new Shape(5), DType.I64, Rate.Step);
            g.Output("linear", g.Linear(x, g.Weight(source(matrix)), g.Weight(source(bias))));
            g.Output("conv", g.Conv2d(map, g.Weight(source(kernel)), null, new Conv2dOp(false, PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1)));
            g.Output("rows", g.Embedding(ids, g.Weight(source(table))));
            return GraphRunner.OnDevice(on, g, new Dictionary<string, double[]>
            {
                ["x"] = GraphRunner.Numbers(3 * 700, 5), ["map"] = GraphRunner.Numbers(5 * 4 * 520, 6), ["ids"] = [0, 899, 450, 7, 7],
            });
        }
    }

    [Fact]
    public void A_file_that_was_cut_off_is_named_and_is_asked_again_the_next_time()
    {
        using var folder = new TemporaryFolder();
        var matrix = new ArrayWeight("matrix", new Shape(1010, 700), GraphRunner.Numbers(1010 * 700, 1), DType.F16);
        SafetensorsWriter.Write(folder["w.safetensors"], [Stored(matrix)]);
        byte[] bytes = File.ReadAllBytes(folder["w.safetensors"]);
        using var file = Checkpoint.Open(folder["w.safetensors"]);
        using (var cut = new FileStream(folder["w.safetensors"], FileMode.Open)) cut.SetLength(bytes.Length / 2);
        var g = new Graph();
        g.Output("y", g.Linear(g.Input("x", new Shape(1, 700), DType.F32, Rate.Step), g.Weight(WeightScope.Of(file, "w").Tensor("matrix", matrix.Type.Shape))));
        using var device = new CpuDevice(2);
        using var store = device.CreateWeightStore();
        var plan = device.Plan(g);
        for (int i = 0; i < 2; i++) Assert.Contains("matrix", Assert.Throws<ModelFileException>(() => device.Prepare(plan, store).Dispose()).Message, StringComparison.Ordinal);
    }

    private static TensorData Stored(ArrayWeight w)
    {
        var bytes = new byte[w.Type.Bytes];
        w.Read(bytes);
        return new TensorData(w.Name, StorageTypes.FromDType(w.Type.DType), w.Type.Shape.ToArray(), bytes);
    }
}
