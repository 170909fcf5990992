using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Runtime;

/// <summary>Every operation on the CPU against its double-precision meaning, fused and not, on shapes that divide nothing.</summary>
public class OpTests
{
    /// <summary>A case records a graph with one output "y"; inputs are filled from its input nodes.</summary>
    private static readonly Dictionary<string, (Action<Graph> Record, double Bound)> Cases = new(StringComparer.Ordinal)
    {
        ["linear 97x111->17"] = (g => g.Output("y", g.Linear(In(g, "x", 97, 111), W(g, "w", 17, 111), W(g, "b", 17))), 1e-6),
        ["linear f16 5x33->50"] = (g => g.Output("y", g.Linear(In(g, "x", 5, 33), W(g, "w", DType.F16, 50, 33))), 1e-6),
        ["linear bf16 1x1025->3"] = (g => g.Output("y", g.Linear(In(g, "x", 1, 1025), W(g, "w", DType.BF16, 3, 1025))), 1e-6),
        ["linear f64 2x7->9"] = (g => g.Output("y", g.Linear(In(g, "x", 2, 7), W(g, "w", DType.F64, 9, 7))), 1e-6),
        ["linear gelu residual scale"] = (LinearEpilogue, 1e-6),
        ["conv 3x3 same"] = (g => g.Output("y", Conv(g, [2, 7, 9, 5], 11, 3, new Conv2dOp(true, 1, 1, 1, 1, 1, 1))), 1e-6),
        ["conv 3x3 stride 2 asymmetric"] = (g => g.Output("y", Conv(g, [1, 8, 8, 16], 48, 3, new Conv2dOp(true, 2, 2, 0, 0, 1, 1))), 1e-6),
        ["conv 1x1"] = (g => g.Output("y", Conv(g, [3, 5, 5, 17], 49, 1, new Conv2dOp(true))), 1e-6),
        ["conv 1x1 stride 2"] = (g => g.Output("y", Conv(g, [1, 7, 5, 17], 3, 1, new Conv2dOp(true, 2, 2))), 1e-6),
        ["conv 5x5 dilated"] = (g => g.Output("y", Conv(g, [1, 12, 13, 3], 4, 5, new Conv2dOp(true, 1, 1, 4, 4, 4, 4, 2, 2))), 1e-6),
        ["conv 1 channel"] = (g => g.Output("y", Conv(g, [2, 32, 32, 1], 32, 3, new Conv2dOp(true, 1, 1, 1, 1, 1, 1))), 1e-6),
        ["conv many small images"] = (g => g.Output("y", Conv(g, [9, 4, 4, 130], 65, 3, new Conv2dOp(true, 1, 1, 1, 1, 1, 1))), 2e-6),
        ["conv grouped"] = (Grouped, 1e-6),
        ["conv resnet tail"] = (ResnetTail, 2e-6),
        ["matmul batched"] = (g => g.Output("y", g.MatMul(In(g, "a", 2, 1, 7, 13), In(g, "b", 3, 13, 5))), 1e-6),
        ["matmul transposed"] = (g => g.Output("y", g.MatMul(In(g, "a", 2, 13, 7), In(g, "b", 2, 5, 13), true, true)), 1e-6),
        ["matmul transposed b"] = (g => g.Output("y", g.MatMul(In(g, "a", 2, 7, 13), In(g, "b", 2, 5, 13), false, true)), 1e-6),
        ["attention 3 heads"] = (g => g.Output("y", g.Attention(In(g, "q", 2, 37, 24), In(g, "k", 2, 19, 24), In(g, "v", 2, 19, 30), 3, 0.35)), 2e-6),
        ["attention causal"] = (g => g.Output("y", g.Attention(In(g, "q", 1, 65, 8), In(g, "k", 1, 65, 8), In(g, "v", 1, 65, 8), 1, 2, causal: true)), 2e-6),
        ["attention mask"] = (g => g.Output("y", g.Attention(In(g, "q", 2, 5, 16), In(g, "k", 2, 300, 16), In(g, "v", 2, 300, 16), 2, 1, mask: In(g, "m", 2, 1, 1, 300))), 2e-6),
        ["group norm"] = (g => g.Output("y", g.GroupNorm(In(g, "x", 2, 5, 7, 12), W(g, "w", 12), W(g, "b", 12), 3, 1e-5)), 2e-6),
        ["group norm silu"] = (g => g.Output("y", g.Silu(g.GroupNorm(In(g, "x", 1, 33, 17), W(g, "w", 17), W(g, "b", 17), 17, 1e-5))), 3e-6),
        ["group norm modulated"] = (Modulated, 3e-6),
        ["layer norm"] = (g => g.Output("y", g.Add(new LayerNormOp(1e-5f), In(g, "x", 5, 111), W(g, "w", 111), W(g, "b", 111))), 2e-6),
        ["rms norm"] = (g => g.Output("y", g.Add(new RmsNormOp(1e-6f), In(g, "x", 5, 111), W(g, "w", 111))), 2e-6),
        ["rms norm of small numbers"] = (g => g.Output("y", g.Add(new RmsNormOp(1e-4f, Affine: false, Outside: true), g.Affine(In(g, "x", 3, 7, 16), 1e-3))), 2e-6),
        ["softmax"] = (g => g.Output("y", g.Softmax(In(g, "x", 7, 97))), 1e-6),
        ["geglu"] = (Geglu, 2e-6),
        ["add broadcast"] = (g => g.Output("y", g.Plus(In(g, "a", 3, 1, 5, 33), In(g, "b", 4, 1, 33))), 1e-7),
        ["divide by column"] = (g => g.Output("y", g.Binary(Binary.Div, In(g, "a", 3, 33), g.Affine(In(g, "b", 3, 1), 1, 3))), 2e-7),
        ["affine"] = (g => g.Output("y", g.Affine(In(g, "a", 111), 0.5, -2)), 1e-7),
        ["transpose"] = (g => g.Output("y", g.Transpose(In(g, "a", 3, 5, 7, 2), 2, 0, 3, 1)), 0),
        ["reshape of transpose"] = (g => g.Output("y", g.Affine(g.Reshape(g.Transpose(In(g, "a", 3, 5), 1, 0), 15), 2)), 1e-7),
        ["concat channels"] = (g => g.Output("y", g.Concat(-1, In(g, "a", 2, 3, 5), In(g, "b", 2, 3, 1), In(g, "c", 2, 3, 17))), 0),
        ["concat batch"] = (g => g.Output("y", g.Concat(0, In(g, "a", 2, 33), In(g, "b", 1, 33))), 0),
        ["slice backwards"] = (g => g.Output("y", g.Add(new SliceOp([4, 2], [-2, 3], [3, 4]), In(g, "a", 5, 12))), 0),
        ["pad constant"] = (g => g.Output("y", g.Add(new PadOp([0, 1, 2], [1, 0, 3], PadMode.Constant, 7), In(g, "a", 2, 3, 4))), 0),
        ["pad reflect"] = (g => g.Output("y", g.Add(new PadOp([2, 1], [1, 3], PadMode.Reflect), In(g, "a", 4, 5))), 0),
        ["pad edge"] = (g => g.Output("y", g.Add(new PadOp([2, 1], [1, 3], PadMode.Edge), In(g, "a", 4, 5))), 0),
        ["expand"] = (g => g.Output("y", g.Expand(In(g, "a", 3, 1), new Shape(2, 3, 17))), 0),
        ["upsample 2x"] = (g => g.Output("y", g.UpsampleNearest(In(g, "a", 2, 3, 5, 17), 6, 10)), 0),
        ["upsample odd"] = (g => g.Output("y", g.UpsampleNearest(In(g, "a", 1, 3, 5, 2), 7, 8)), 0),
        ["average pool"] = (g => g.Output("y", g.Add(new AveragePoolOp(3, 2, 2, 1, 1, 1, 0, 1, true, true), In(g, "a", 2, 6, 5, 19))), 1e-6),
        ["fir up"] = (g => g.Output("y", g.Add(new FirResampleOp([0.25f, 0.75f, 0.75f, 0.25f], 2, 1, 2, 1), In(g, "a", 1, 5, 4, 3))), 1e-6),
        ["fir down"] = (g => g.Output("y", g.Add(new FirResampleOp([0.125f, 0.375f, 0.375f, 0.125f], 1, 2, 1, 1), In(g, "a", 2, 6, 8, 33))), 1e-6),
        ["sinusoidal"] = (g => g.Output("y", g.Add(new SinusoidalEmbeddingOp(33, true, 1), g.Constant([0, 1, 17, 500, 999], new Shape(5)))), 1e-6),
        ["fourier"] = (g => g.Output("y", g.Add(new FourierEmbeddingOp(true, true), g.Constant([0.5f, 3, 900], new Shape(3)), W(g, "w", 9))), 1e-5),
        ["conv transpose 4x4 stride 2"] = (g => g.Output("y", g.ConvTranspose2d(In(g, "x", 2, 5, 6, 4), W(g, "weight", 4, 19, 4, 4), W(g, "b", 19), new ConvTranspose2dOp(true, 2, 2, 1, 1, 1, 1))), 1e-6),
        ["conv transpose grouped dilated"] = (g => g.Output("y", g.ConvTranspose2d(In(g, "x", 1, 4, 3, 6), W(g, "weight", DType.F16, 6, 17, 3, 2), null, new ConvTranspose2dOp(false, 3, 1, 1, 0, 2, 1, 1, 0, 2, 3, 2))), 1e-6),
        ["average pool dilated"] = (g => g.Output("y", g.Add(new AveragePoolOp(3, 2, 1, 2, 3, 1, 2, 2, true, false, 2, 3), In(g, "a", 1, 7, 9, 17))), 1e-6),
        ["max pool"] = (g => g.Output("y", g.MaxPool(In(g, "a", 2, 7, 8, 19), 3, 2)), 0),
        ["max pool padded dilated"] = (g => g.Output("y", g.Add(new MaxPoolOp(3, 2, 2, 1, 2, 1, 1, 1, 2, 3, true), In(g, "a", 1, 8, 9, 5))), 0),
        ["instance norm"] = (g => g.Output("y", g.InstanceNorm(In(g, "x", 2, 5, 7, 13), W(g, "w", 13), W(g, "b", 13), 1e-5)), 2e-6),
        ["global average pool"] = (g => g.Output("y", g.GlobalAveragePool(In(g, "x", 2, 5, 7, 13))), 1e-6),
        ["resize linear up"] = (g => g.Output("y", g.ResizeLinear(In(g, "a", 2, 5, 4, 17), 12, 7)), 1e-6),
        ["resize linear align corners"] = (g => g.Output("y", g.ResizeLinear(In(g, "a", 1, 5, 6, 3), 9, 4, alignCorners: true)), 1e-6),
        ["resize linear antialias"] = (g => g.Output("y", g.Add(new ResizeOp(3, 4, ResizeMode.Linear, Antialias: true), In(g, "a", 1, 13, 10, 18))), 1e-6),
        ["resize cubic"] = (g => g.Output("y", g.Add(new ResizeOp(11, 3, ResizeMode.Cubic), In(g, "a", 1, 5, 6, 33))), 1e-6),
        ["resize cubic asymmetric inside"] = (g => g.Output("y", g.Add(new ResizeOp(7, 9, ResizeMode.Cubic, ResizeCoordinates.Asymmetric, 1.3, 1.7, CubicA: -0.5, ExcludeOutside: true), In(g, "a", 2, 5, 5, 2))), 1e-6),
        ["resize nearest ceiling"] = (g => g.Output("y", g.Add(new ResizeOp(7, 3, ResizeMode.Nearest, ResizeCoordinates.HalfPixel, Rounding: ResizeRounding.Ceiling), In(g, "a", 1, 5, 5, 20))), 0),
        ["pick largest token"] = (g => g.Output("y", g.Add(new PickTokenOp(-1), In(g, "x", 3, 5, 7), g.Cast(g.Constant([1, 9, 3, 9, 2, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8], new Shape(3, 5)), DType.I64))), 0),
        ["pick a token"] = (g => g.Output("y", g.Add(new PickTokenOp(3), In(g, "x", 3, 5, 7), g.Cast(g.Constant([1, 9, 3, 9, 3, 0, 0, 0, 0, 0, 4, 3, 2, 3, 8], new Shape(3, 5)), DType.I32))), 0),
        ["group moments"] = (g => g.Output("y", g.Add(new GroupMomentsOp(3, 2), In(g, "x", 2, 8, 10, 51), g.Constant([1, 3, 0, 4], new Shape(4)))), 1e-6),
        ["given group norm silu"] = (g => g.Output("y", g.Add(new GivenGroupNormOp(new GroupNormOp(3, 1e-5f), Activation.Silu), In(g, "x", 2, 4, 5, 51), g.Affine(In(g, "m", 2, 3, 2), 1, 2), W(g, "w", 51), W(g, "b", 51))), 2e-6),
        ["nearest code"] = (g => g.Output("y", g.NearestCode(In(g, "x", 3, 5, 7, 3), W(g, "w", 97, 3))), 0),
        ["nearest code f16 wide"] = (g => g.Output("y", g.NearestCode(In(g, "x", 33, 19), W(g, "w", DType.F16, 5, 19))), 0),
        ["upsample conv"] = (g => g.Output("y", g.Conv2d(g.UpsampleNearest(In(g, "x", 2, 5, 6, 32), 10, 12), W(g, "w", 20, 32, 3, 3), W(g, "b", 20), new Conv2dOp(true, 1, 1, 1, 1, 1, 1))), 5e-6),
        ["upsample conv direct"] = (g => g.Output("y", g.Conv2d(g.UpsampleNearest(In(g, "x", 2, 5, 3, 7), 15, 9), W(g, "w", 20, 7, 3, 3), null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1))), 2e-6),
        ["upsample conv 1x1 silu residual"] = (g => g.Output("y", g.Plus(g.Unary(Unary.Silu, g.Conv2d(g.UpsampleNearest(In(g, "x", 2, 4, 3, 16), 8, 6), W(g, "w", 9, 16, 1, 1), null, new Conv2dOp(false))), In(g, "r", 2, 8, 6, 9))), 2e-6),
        ["upsample unevenly conv"] = (g => g.Output("y", g.Conv2d(g.UpsampleNearest(In(g, "x", 1, 4, 3, 16), 8, 9), W(g, "w", 9, 16, 3, 3), null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1))), 5e-6),
        ["linear geglu"] = (g => g.Output("y", Gated(g, g.Linear(In(g, "x", 2, 37, 19), W(g, "w", 160, 19), W(g, "b", 160)))), 2e-6),
        ["linear geglu f16"] = (g => g.Output("y", Gated(g, g.Linear(In(g, "x", 150, 33), W(g, "w", DType.F16, 224, 33), null))), 2e-6),
        ["linear geglu uneven"] = (g => g.Output("y", Gated(g, g.Linear(In(g, "x", 9, 33), W(g, "w", 34, 33), null))), 2e-6),
        ["cast f16"] = (g => g.Output("y", g.Cast(In(g, "a", 77), DType.F16)), 0),
        ["cast bf16 and back"] = (g => g.Output("y", g.Cast(g.Cast(In(g, "a", 77), DType.BF16), DType.F32)), 0),
    };

    private static Value Gated(Graph g, Value h)
    {
        long half = h.Shape[-1] / 2;
        return g.Times(g.Slice(h, h.Shape.Rank - 1, 0, half), g.Unary(Unary.Gelu, g.Slice(h, h.Shape.Rank - 1, half, half)));
    }

    public static TheoryData<string> Names() => [.. Cases.Keys];

    public static TheoryData<Unary> Functions() => [.. Enum.GetValues<Unary>()];

    [Theory]
    [MemberData(nameof(Names))]
    public void An_operation_computes_what_it_means(string name)
    {
        var (record, bound) = Cases[name];
        var graph = new Graph();
        record(graph);
        var inputs = Fill(graph);
        var expected = Interpreter.Run(graph, inputs)["y"];
        using var device = new CpuDevice(2);
        foreach (bool fuse in new[] { false, true })
        {
            double error = GraphRunner.RelativeError(expected, GraphRunner.OnDevice(device, graph, inputs, fuse)["y"]);
            Assert.True(error <= bound, $"{name}, fuse {fuse}: relative error {error:E2} above {bound:E1}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Threads_do_not_change_a_byte(string name)
    {
        var graph = new Graph();
        Cases[name].Record(graph);
        var inputs = Fill(graph);
        using var one = new CpuDevice(1);
        using var three = new CpuDevice(3);
        Assert.Equal(GraphRunner.OnDevice(one, graph, inputs)["y"], GraphRunner.OnDevice(three, graph, inputs)["y"]);
    }

    [Theory]
    [MemberData(nameof(Functions))]
    public void A_function_computes_what_it_means(Unary function)
    {
        var graph = new Graph();
        var x = graph.Input("x", new Shape(1111));
        bool positive = function is Unary.Log or Unary.Sqrt or Unary.Reciprocal;
        graph.Output("y", graph.Unary(function, positive ? graph.Affine(x, 5, 5.5) : graph.Affine(x, 8)));
        var inputs = Fill(graph);
        using var device = new CpuDevice(1);
        double error = GraphRunner.RelativeError(Interpreter.Run(graph, inputs)["y"], GraphRunner.OnDevice(device, graph, inputs)["y"]);
        Assert.True(error <= 1e-6, $"{function}: {error:E2}");
    }

    [Fact]
    public void Operands_that_do_not_fit_name_the_operation_and_the_shapes()
    {
        var g = new Graph();
        var e = Assert.Throws<ShapeException>(() => g.Linear(In(g, "x", 2, 3), In(g, "w", 4, 5)));
        Assert.Contains("linear", e.Message);
        Assert.Contains("[2, 3]", e.Message);
        Assert.Contains("[4, 5]", e.Message);
        Assert.Throws<ShapeException>(() => g.Plus(In(g, "a", 2), In(g, "b", 3)));
        Assert.Throws<ShapeException>(() => g.Attention(In(g, "q", 1, 2, 9), In(g, "k", 1, 2, 9), In(g, "v", 1, 2, 9), 2, 1));
    }

    private static Dictionary<string, double[]> Fill(Graph graph) =>
        graph.Inputs.ToDictionary(i => i.Key, i => GraphRunner.Numbers(graph.Nodes[i.Value].Type.Shape.Count, i.Value + 1));

    private static Value In(Graph g, string name, params long[] shape) => g.Input(name, new Shape(shape));

    private static Value W(Graph g, string name, params long[] shape) => W(g, name, DType.F32, shape);

    private static Value W(Graph g, string name, DType type, params long[] shape) =>
        g.Weight(new ArrayWeight(name, new Shape(shape), GraphRunner.Numbers(new Shape(shape).Count, name.Length + 7), type));

    private static Value Conv(Graph g, long[] x, long outputs, long kernel, Conv2dOp op) =>
        g.Conv2d(In(g, "x", x), W(g, "weight", outputs, x[3], kernel, kernel), W(g, "b", outputs), op);

    private static void Grouped(Graph g) =>
        g.Output("y", g.Conv2d(In(g, "x", 1, 5, 5, 6), W(g, "weight", 4, 3, 3, 3), null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1, Groups: 2)));

    private static void LinearEpilogue(Graph g)
    {
        var x = In(g, "x", 2, 9, 33);
        var y = g.Unary(Unary.Gelu, g.Linear(x, W(g, "w", 33, 33), W(g, "b", 33)));
        g.Output("y", g.Affine(g.Plus(y, x), 0.75));
    }

    private static void ResnetTail(Graph g)
    {
        var h = Conv(g, [3, 6, 5, 20], 24, 3, new Conv2dOp(true, 1, 1, 1, 1, 1, 1));
        h = g.Plus(h, g.Reshape(In(g, "temb", 3, 24), 3, 1, 1, 24));
        g.Output("y", g.Affine(g.Plus(In(g, "skip", 3, 6, 5, 24), h), 0.7071));
    }

    private static void Modulated(Graph g)
    {
        var x = g.GroupNorm(In(g, "x", 2, 4, 5, 18), W(g, "w", 18), W(g, "b", 18), 2, 1e-6);
        g.Output("y", g.Silu(g.Plus(g.Times(x, g.Affine(In(g, "s", 2, 1, 1, 18), 1, 1)), In(g, "t", 2, 1, 1, 18))));
    }

    private static void Geglu(Graph g)
    {
        var x = g.Affine(In(g, "x", 5, 46), 3);
        g.Output("y", g.Times(g.Slice(x, 1, 0, 23), g.Unary(Unary.Gelu, g.Slice(x, 1, 23, 23))));
    }
}
