using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Tests.Runtime;

/// <summary>
/// Every operation's vector-Jacobian product: in the interpreter against central differences of the operation itself, in double, on shapes that divide by
/// nothing; and on the CPU against the interpreter.
/// </summary>
public sealed class GradientTests
{
    // Factors of the rules are numbers known when recording, which are floats: 6e-8 each.
    private const double Step = 1e-5, DifferenceBound = 1.5e-7, DeviceBound = 2e-5;

    /// <param name="Inputs">Shapes of the inputs that are differentiated.</param>
    /// <param name="Record">From the inputs to the result.</param>
    /// <param name="Positive">Whether the inputs must be above zero.</param>
    public sealed record Case(string Name, long[][] Inputs, Func<Graph, Value[], Value> Record, bool Positive = false)
    {
        public override string ToString() => Name;
    }

    private static readonly Case[] All =
    [
        .. Enum.GetValues<Unary>().Select(f => new Case($"unary {f}", [[3, 7]], (g, x) => g.Unary(f, x[0]), f is Unary.Log or Unary.Sqrt or Unary.Reciprocal)),
        .. Enum.GetValues<Binary>().Select(f => new Case($"binary {f}", [[3, 1, 5], [2, 5]], (g, x) => g.Binary(f, x[0], x[1]), f is Binary.Pow or Binary.Div)),
        new("the same operand twice", [[5]], (g, x) => g.Times(x[0], g.Plus(x[0], x[0]))),
        new("affine", [[5]], (g, x) => g.Affine(x[0], -1.7, 0.3)),
        new("reshape", [[3, 4]], (g, x) => g.Reshape(x[0], 2, 6)),
        new("transpose", [[2, 3, 5]], (g, x) => g.Transpose(x[0], 2, 0, 1)),
        new("concat", [[2, 3], [2, 4]], (g, x) => g.Concat(1, x[0], x[1], x[0])),
        new("slice", [[3, 7, 2]], (g, x) => g.Slice(x[0], 1, 2, 4)),
        new("slice with a step", [[2, 11, 3]], (g, x) => g.Add(new SliceOp([1, 2, 0], [1, 3, 2], [1, 3, 2]), x[0])),
        new("slice backwards", [[2, 11]], (g, x) => g.Add(new SliceOp([0, 9], [1, -2], [2, 4]), x[0])),
        new("pad", [[2, 3]], (g, x) => g.Add(new PadOp([1, 0], [0, 2], PadMode.Constant, 3), x[0])),
        new("expand", [[3, 1]], (g, x) => g.Expand(x[0], new Shape(2, 3, 5))),
        new("cast", [[5]], (g, x) => g.Cast(x[0], DType.F64)),
        new("linear", [[2, 3, 5], [7, 5], [7]], (g, x) => g.Linear(x[0], x[1], x[2])),
        new("linear on stored weights", [[2, 3, 5]], (g, x) => g.Linear(x[0], Weight(g, 7, 5), Weight(g, 7))),
        .. from a in (bool[])[false, true] from b in (bool[])[false, true]
           select new Case($"matmul {a} {b}", [a ? [2, 1, 3, 4] : [2, 1, 4, 3], b ? [3, 5, 3] : [3, 3, 5]], (g, x) => g.MatMul(x[0], x[1], a, b)),
        new("conv 3x3", [[2, 5, 7, 3]], (g, x) => g.Conv2d(x[0], Weight(g, 4, 3, 3, 3), Weight(g, 4), new Conv2dOp(true, 1, 1, 1, 1, 1, 1))),
        new("conv with a computed bias", [[1, 3, 3, 2], [4]], (g, x) => g.Conv2d(x[0], Weight(g, 4, 2, 1, 1), x[1], new Conv2dOp(true))),
        new("conv, unequal borders, dilated", [[1, 7, 6, 2]], (g, x) => g.Conv2d(x[0], Weight(g, 3, 2, 3, 2), null, new Conv2dOp(false, 1, 1, 2, 0, 1, 1, 2, 1))),
        new("conv, stride 2", [[2, 6, 7, 3]], (g, x) => g.Conv2d(x[0], Weight(g, 4, 3, 3, 3), null, new Conv2dOp(false, 2, 2, 0, 1, 1, 1))),
        new("conv, stride 3, grouped", [[1, 8, 8, 4]], (g, x) => g.Conv2d(x[0], Weight(g, 6, 2, 2, 3), null, new Conv2dOp(false, 3, 2, Groups: 2))),
        new("conv, border wider than the kernel", [[1, 3, 3, 2]], (g, x) => g.Conv2d(x[0], Weight(g, 3, 2, 1, 1), null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1))),
        new("transposed conv", [[2, 4, 3, 3]], (g, x) => g.ConvTranspose2d(x[0], Weight(g, 3, 2, 3, 3), Weight(g, 2), new ConvTranspose2dOp(true, 2, 2, 1, 1, 1, 1, 1, 1))),
        new("transposed conv, rows beyond the kernel", [[1, 3, 3, 2]], (g, x) => g.ConvTranspose2d(x[0], Weight(g, 2, 2, 3, 2), null, new ConvTranspose2dOp(false, 3, 2, OutputPadH: 2, OutputPadW: 1))),
        new("attention", [[2, 3, 6], [2, 5, 6], [2, 5, 4]], (g, x) => g.Attention(x[0], x[1], x[2], 2, 0.6)),
        new("attention with a mask", [[1, 3, 4], [1, 5, 4], [1, 5, 4], [3, 5]], (g, x) => g.Attention(x[0], x[1], x[2], 2, 0.6, false, x[3])),
        new("causal attention", [[1, 5, 4]], (g, x) => g.Attention(x[0], x[0], x[0], 2, 0.6, causal: true)),
        new("softmax", [[3, 7]], (g, x) => g.Softmax(x[0])),
        new("group norm", [[2, 3, 5, 6], [6], [6]], (g, x) => g.GroupNorm(x[0], x[1], x[2], 3, 1e-3)),
        new("group norm, not affine, many channels", [[2, 3, 3, 72]], (g, x) => g.Add(new GroupNormOp(4, 1e-3f, false), x[0])),
        new("group norm, one channel a group", [[1, 300, 33]], (g, x) => g.Add(new GroupNormOp(33, 1e-3f, false), x[0])),
        new("layer norm", [[2, 3, 7], [7], [7]], (g, x) => g.Add(new LayerNormOp(1e-3f), x[0], x[1], x[2])),
        new("rms norm", [[2, 3, 7], [7]], (g, x) => g.Add(new RmsNormOp(1e-3f), x[0], x[1])),
        new("rms norm, epsilon outside", [[2, 7]], (g, x) => g.Add(new RmsNormOp(1e-2f, false, true), x[0])),
        new("upsample", [[2, 3, 2, 3]], (g, x) => g.UpsampleNearest(x[0], 6, 4)),
        new("average pool", [[2, 4, 6, 3]], (g, x) => g.Add(new AveragePoolOp(2, 3, 2, 3), x[0])),
        new("global average", [[2, 3, 5, 3]], (g, x) => g.GlobalAveragePool(x[0])),
        new("average pool, overlapping, cut", [[1, 7, 5, 3]], (g, x) => g.Add(new AveragePoolOp(3, 2, 2, 1, 1, 0, 1, 1, false, true), x[0])),
        new("average pool, borders counted, dilated", [[1, 7, 5, 2]], (g, x) => g.Add(new AveragePoolOp(2, 2, 1, 2, 1, 1, 1, 1, true, false, 2, 1), x[0])),
        new("average pool that leaves a rest", [[1, 5, 7, 2]], (g, x) => g.AveragePool(x[0], 2, 2)),
        new("fir up", [[1, 3, 4, 2]], (g, x) => g.Add(new FirResampleOp([0.1f, 0.3f, 0.4f, 0.2f], 2, 1, 2, 1), x[0])),
        new("fir down", [[1, 7, 6, 2]], (g, x) => g.Add(new FirResampleOp([0.1f, 0.3f, 0.4f, 0.2f], 1, 2, 1, 1), x[0])),
        new("fir blur", [[1, 5, 6, 2]], (g, x) => g.Add(new FirResampleOp([0.1f, 0.5f, 0.4f], 1, 1, 1, 2), x[0])),
        new("geglu", [[3, 6]], (g, x) => g.Add(new GegluOp(), x[0])),
        new("indices do not vary", [[3]], (g, x) => g.Times(x[0], g.Cast(g.Cast(x[0], DType.I64), DType.F32))),
    ];

    public static TheoryData<string> Names()
    {
        var names = new TheoryData<string>();
        foreach (var c in All) names.Add(c.Name);
        return names;
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_product_with_the_jacobian_is_what_differences_say(string name)
    {
        var (c, g, seed, gradients) = Record(name);
        var inputs = Numbers(c, g);
        var got = Interpreter.Run(g, inputs);
        for (int i = 0; i < c.Inputs.Length; i++)
        {
            var expected = new double[inputs[$"x{i}"].Length];
            for (int k = 0; k < expected.Length; k++) expected[k] = (Shifted(i, k, Step) - Shifted(i, k, -Step)) / (2 * Step);
            double error = GraphRunner.RelativeError(expected, got[$"d{i}"]);
            Assert.True(error < DifferenceBound, $"{name}, operand {i}: {error:E2}");
        }

        double Shifted(int input, int element, double by)
        {
            var moved = inputs.ToDictionary(p => p.Key, p => (double[])p.Value.Clone());
            moved[$"x{input}"][element] += by;
            double[] y = Interpreter.Run(g, moved)["y"];
            return y.Zip(inputs["seed"], (a, b) => a * b).Sum();
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void The_cpu_computes_the_same_product(string name)
    {
        var (c, g, _, _) = Record(name);
        var inputs = Numbers(c, g).ToDictionary(p => p.Key, p => Array.ConvertAll(p.Value, v => (double)(float)v));
        using var device = new CpuDevice(2);
        var expected = Interpreter.Run(g, inputs);
        var got = GraphRunner.OnDevice(device, g, inputs);
        foreach (var (output, values) in expected)
        {
            double error = GraphRunner.RelativeError(values, got[output]);
            Assert.True(error < DeviceBound, $"{name}, {output}: {error:E2}");
        }
    }

    [Fact]
    public void What_has_no_derivative_says_so_by_name()
    {
        var g = new Graph();
        var x = g.Input("x", new Shape(1, 4, 4, 2));
        Value y;
        using (g.Layer("block.3")) y = g.MaxPool(x, 2, 2);
        var e = Assert.Throws<GradientException>(() => GradientPass.Append(g, y, g.Expand(g.Constant([1], new Shape(1)), y.Shape), x));
        Assert.Contains("max_pool", e.Message, StringComparison.Ordinal);
        Assert.Contains("block.3", e.Message, StringComparison.Ordinal);
        Assert.Equal(ErrorKind.Usage, e.Kind);
    }

    [Fact]
    public void A_kernel_that_depends_on_the_input_has_none()
    {
        var g = new Graph();
        var w = g.Input("w", new Shape(2, 2, 1, 1));
        var y = g.Conv2d(g.Constant(new float[8], new Shape(1, 2, 2, 2)), w, null, new Conv2dOp(false));
        Assert.Throws<GradientException>(() => GradientPass.Append(g, y, g.Expand(g.Constant([1], new Shape(1)), y.Shape), w));
    }

    [Fact]
    public void Where_nothing_depends_on_an_input_the_gradient_is_zero()
    {
        var g = new Graph();
        Value x = g.Input("x", new Shape(3)), other = g.Input("other", new Shape(2));
        var y = g.Affine(x, 2);
        g.Output("d", GradientPass.Append(g, y, g.Expand(g.Constant([1], new Shape(1)), y.Shape), other)[0]);
        Assert.Equal([0, 0], Interpreter.Run(g, new Dictionary<string, double[]> { ["x"] = [1, 2, 3], ["other"] = [4, 5] })["d"]);
    }

    private static (Case Case, Graph Graph, Value Seed, Value[] Gradients) Record(string name)
    {
        var c = All.First(v => v.Name == name);
        var g = new Graph();
        Value[] x = [.. c.Inputs.Select((s, i) => g.Input($"x{i}", new Shape(s)))];
        var y = c.Record(g, x);
        var seed = g.Input("seed", y.Shape);
        var gradients = GradientPass.Append(g, y, seed, x);
        g.Output("y", y);
        for (int i = 0; i < x.Length; i++)
        {
            Assert.Equal(x[i].Shape, gradients[i].Shape);
            g.Output($"d{i}", gradients[i]);
        }

        return (c, g, seed, gradients);
    }

    private static Dictionary<string, double[]> Numbers(Case c, Graph g) => g.Inputs.ToDictionary(
        p => p.Key, p => Array.ConvertAll(GraphRunner.Numbers(g.Nodes[p.Value].Type.Shape.Count, p.Key == "seed" ? 99 : p.Key[1]), v => c.Positive && p.Key != "seed" ? 1.6 + v : v));

    private static Value Weight(Graph g, params long[] shape)
    {
        var s = new Shape(shape);
        return g.Weight(new ArrayWeight($"w{s}", s, GraphRunner.Numbers(s.Count, (int)s.Count)));
    }
}
