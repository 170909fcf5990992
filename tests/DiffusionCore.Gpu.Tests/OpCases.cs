using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;

namespace DiffusionCore.Gpu.Tests;

/// <summary>
/// One case per kernel and way of using it: a graph with one output "y". Sizes come in pairs, odd ones that divide nothing for a device that computes,
/// and tiny ones for ILGPU's CPU accelerator.
/// </summary>
internal sealed class OpCases(bool tiny)
{
    private static readonly Conv2dOp Same = new(true, 1, 1, 1, 1, 1, 1);

    public static readonly Dictionary<string, (Action<OpCases, Graph> Record, double Bound)> All = new(StringComparer.Ordinal)
    {
        ["linear"] = ((c, g) => g.Output("y", g.Linear(c.In(g, "x", c.N(97, 5), c.N(111, 3)), c.W(g, "w", c.N(17, 6), c.N(111, 3)), c.W(g, "b", c.N(17, 6)))), 2e-6),
        ["linear f16"] = ((c, g) => g.Output("y", g.Linear(c.In(g, "x", 5, 33), c.W(g, "w", DType.F16, 50, 33))), 2e-6),
        ["linear bf16"] = ((c, g) => g.Output("y", g.Linear(c.In(g, "x", 1, c.N(1025, 9)), c.W(g, "w", DType.BF16, 3, c.N(1025, 9)))), 2e-6),
        ["linear f64"] = ((c, g) => g.Output("y", g.Linear(c.In(g, "x", 2, 7), c.W(g, "w", DType.F64, 9, 7))), 2e-6),
        ["linear of one number"] = ((c, g) => g.Output("y", g.Linear(c.In(g, "x", 1, 1), c.W(g, "w", 1, 1))), 2e-6),
        ["linear gelu residual scale"] = ((c, g) => c.LinearEpilogue(g), 2e-6),
        ["linear silu channel"] = ((c, g) => c.LinearChannel(g), 2e-6),
        ["linear computed weight"] = ((c, g) => g.Output("y", g.Linear(c.In(g, "x", 3, 5), g.Affine(c.In(g, "w", 4, 5), 2))), 2e-6),
        ["conv 3x3 same"] = ((c, g) => g.Output("y", c.Conv(g, [2, c.N(7, 3), c.N(9, 4), c.N(5, 2)], c.N(11, 5), 3, Same)), 2e-6),
        ["conv 3x3 stride 2 asymmetric"] = ((c, g) => g.Output("y", c.Conv(g, [1, c.N(8, 4), c.N(8, 6), c.N(16, 2)], c.N(48, 3), 3, new Conv2dOp(true, 2, 2, 0, 0, 1, 1))), 2e-6),
        ["conv 1x1"] = ((c, g) => g.Output("y", c.Conv(g, [c.N(3, 1), c.N(5, 2), c.N(5, 3), c.N(17, 3)], c.N(49, 5), 1, new Conv2dOp(true))), 2e-6),
        ["conv 1x1 stride 2"] = ((c, g) => g.Output("y", c.Conv(g, [1, c.N(7, 3), 5, c.N(17, 3)], 3, 1, new Conv2dOp(true, 2, 2))), 2e-6),
        ["conv 3x2 strides 1 2"] = ((c, g) => g.Output("y", g.Conv2d(c.In(g, "x", 1, 6, 5, 3), c.W(g, "weight", 5, 3, 3, 2), null, new Conv2dOp(false, 1, 2, 2, 0, 1, 1))), 2e-6),
        ["conv 5x5 dilated"] = ((c, g) => g.Output("y", c.Conv(g, [1, c.N(12, 5), c.N(13, 5), 3], 4, c.N(5, 3), new Conv2dOp(true, 1, 1, 4, 4, 4, 4, 2, 2))), 2e-6),
        ["conv 1 channel"] = ((c, g) => g.Output("y", c.Conv(g, [2, c.N(32, 4), c.N(32, 3), 1], c.N(32, 2), 3, Same)), 2e-6),
        ["conv grouped"] = ((c, g) => g.Output("y", g.Conv2d(c.In(g, "x", 1, c.N(5, 3), c.N(5, 2), 6), c.W(g, "weight", 10, 3, 3, 3), c.W(g, "b", 10), new Conv2dOp(true, 1, 1, 1, 1, 1, 1, Groups: 2))), 2e-6),
        ["conv depthwise silu"] = ((c, g) => g.Output("y", g.Silu(g.Conv2d(c.In(g, "x", 2, 4, 3, 5), c.W(g, "weight", 5, 1, 3, 3), null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1, Groups: 5)))), 2e-6),
        ["conv resnet tail"] = ((c, g) => c.ResnetTail(g), 3e-6),
        ["matmul batched"] = ((c, g) => g.Output("y", g.MatMul(c.In(g, "a", 2, 1, c.N(7, 2), c.N(13, 3)), c.In(g, "b", 3, c.N(13, 3), 5))), 2e-6),
        ["matmul transposed"] = ((c, g) => g.Output("y", g.MatMul(c.In(g, "a", 2, c.N(13, 3), 7), c.In(g, "b", 2, 5, c.N(13, 3)), true, true)), 2e-6),
        ["matmul transposed b"] = ((c, g) => g.Output("y", g.MatMul(c.In(g, "a", 7, c.N(13, 3)), c.In(g, "b", 2, 5, c.N(13, 3)), false, true)), 2e-6),
        ["attention 3 heads"] = ((c, g) => g.Output("y", g.Attention(c.In(g, "q", 2, c.N(37, 3), c.N(24, 6)), c.In(g, "k", 2, c.N(19, 4), c.N(24, 6)), c.In(g, "v", 2, c.N(19, 4), c.N(30, 9)), 3, 0.35)), 4e-6),
        ["attention long"] = ((c, g) => g.Output("y", g.Attention(c.In(g, "q", 1, 3, 8), c.In(g, "k", 1, c.N(300, 33), 8), c.In(g, "v", 1, c.N(300, 33), 8), 2, 3)), 4e-6),
        ["attention causal"] = ((c, g) => g.Output("y", g.Attention(c.In(g, "q", 1, c.N(65, 5), 8), c.In(g, "k", 1, c.N(65, 5), 8), c.In(g, "v", 1, c.N(65, 5), 8), 1, 2, causal: true)), 4e-6),
        ["attention mask"] = ((c, g) => g.Output("y", g.Attention(c.In(g, "q", 2, 3, 16), c.In(g, "k", 2, c.N(300, 5), 16), c.In(g, "v", 2, c.N(300, 5), 16), 2, 1, mask: c.In(g, "m", 2, 1, 1, c.N(300, 5)))), 4e-6),
        ["attention mask of a query"] = ((c, g) => g.Output("y", g.Attention(c.In(g, "q", 2, 5, 4), c.In(g, "k", 2, 7, 4), c.In(g, "v", 2, 7, 4), 2, 1, mask: c.In(g, "m", 5, 1))), 4e-6),
        ["attention hidden keys"] = ((c, g) => c.HiddenKeys(g), 4e-6),
        ["group norm"] = ((c, g) => g.Output("y", g.GroupNorm(c.In(g, "x", 2, c.N(5, 2), c.N(7, 3), 12), c.W(g, "w", 12), c.W(g, "b", 12), 3, 1e-5)), 3e-6),
        ["group norm plain"] = ((c, g) => g.Output("y", g.Add(new GroupNormOp(2, 1e-5f, false), c.In(g, "x", 1, c.N(70, 4), 6))), 3e-6),
        ["group norm large mean"] = ((c, g) => g.Output("y", g.GroupNorm(g.Affine(c.In(g, "x", 1, c.N(333, 8), 6), 1, 1000), c.W(g, "w", 6), c.W(g, "b", 6), 3, 1e-5)), 4e-4),
        ["group norm silu"] = ((c, g) => g.Output("y", g.Silu(g.GroupNorm(c.In(g, "x", 1, c.N(33, 3), 17), c.W(g, "w", 17), c.W(g, "b", 17), 17, 1e-5))), 4e-6),
        ["group norm modulated"] = ((c, g) => c.Modulated(g), 4e-6),
        ["group moments"] = ((c, g) => g.Output("y", g.Add(new GroupMomentsOp(3, 2), c.In(g, "x", 2, c.N(9, 4), c.N(11, 5), 6), g.Constant([1, 3, 0, 2], new Shape(4)))), 3e-6),
        ["group moments past the edge"] = ((c, g) => g.Output("y", g.Add(new GroupMomentsOp(2), c.In(g, "x", 1, c.N(7, 3), 4, 4), g.Constant([-2, 100, 9, 3], new Shape(4)))), 3e-6),
        ["given group norm"] = ((c, g) => g.Output("y", g.Add(new GivenGroupNormOp(new GroupNormOp(2, 1e-5f), Activation.Silu), c.In(g, "x", 2, 3, c.N(7, 2), 6), g.Constant([0.1f, 0.5f, -0.3f, 2, 0, 1, 0.2f, 0.25f], new Shape(2, 2, 2)), c.W(g, "w", 6), c.W(g, "b", 6))), 3e-6),
        ["layer norm"] = ((c, g) => g.Output("y", g.Add(new LayerNormOp(1e-5f), c.In(g, "x", 5, c.N(311, 7)), c.W(g, "w", c.N(311, 7)), c.W(g, "b", c.N(311, 7)))), 3e-6),
        ["layer norm plain"] = ((c, g) => g.Output("y", g.Add(new LayerNormOp(1e-5f, false), c.In(g, "x", 2, 3, c.N(33, 5)))), 3e-6),
        ["rms norm"] = ((c, g) => g.Output("y", g.Add(new RmsNormOp(1e-5f), c.In(g, "x", 5, c.N(311, 7)), c.W(g, "w", c.N(311, 7)))), 3e-6),
        ["rms norm plain outside"] = ((c, g) => g.Output("y", g.Add(new RmsNormOp(0.25f, false, true), c.In(g, "x", 2, 3, c.N(33, 5)))), 3e-6),
        ["softmax"] = ((c, g) => g.Output("y", g.Softmax(g.Affine(c.In(g, "x", 7, c.N(297, 5)), 20))), 3e-6),
        ["geglu"] = ((c, g) => c.Geglu(g), 3e-6),
        ["add broadcast"] = ((c, g) => g.Output("y", g.Plus(c.In(g, "a", 3, 1, 5, c.N(33, 3)), c.In(g, "b", 4, 1, c.N(33, 3)))), 1e-7),
        ["divide by column"] = ((c, g) => g.Output("y", g.Binary(Binary.Div, c.In(g, "a", 3, c.N(33, 4)), g.Affine(c.In(g, "b", 3, 1), 1, 3))), 3e-7),
        ["affine"] = ((c, g) => g.Output("y", g.Affine(c.In(g, "a", c.N(1111, 21)), 0.5, -2)), 1e-7),
        ["transpose"] = ((c, g) => g.Output("y", g.Transpose(c.In(g, "a", 3, 5, c.N(7, 2), 2), 2, 0, 3, 1)), 0),
        ["reshape of transpose"] = ((c, g) => g.Output("y", g.Affine(g.Reshape(g.Transpose(c.In(g, "a", 3, 5), 1, 0), 15), 2)), 1e-7),
        ["concat channels"] = ((c, g) => g.Output("y", g.Concat(-1, c.In(g, "a", 2, 3, 5), c.In(g, "b", 2, 3, 1), c.In(g, "c", 2, 3, c.N(17, 2)))), 0),
        ["concat batch"] = ((c, g) => g.Output("y", g.Concat(0, c.In(g, "a", 2, c.N(33, 3)), c.In(g, "b", 1, c.N(33, 3)))), 0),
        ["concat of a half weight"] = ((c, g) => g.Output("y", g.Cast(g.Concat(0, c.W(g, "a", DType.F16, 2, 3), g.Cast(c.In(g, "b", 1, 3), DType.F16)), DType.F32)), 0),
        ["slice backwards"] = ((c, g) => g.Output("y", g.Add(new SliceOp([4, 2], [-2, 3], [3, 4]), c.In(g, "a", 5, 12))), 0),
        ["slice of longs"] = ((c, g) => g.Output("y", g.Cast(g.Slice(g.Input("a", new Shape(4, 3), DType.I64), 0, 1, 2), DType.F32)), 0),
        ["slice of halves"] = ((c, g) => g.Output("y", g.Cast(g.Slice(g.Cast(c.In(g, "a", 4, 3), DType.F16), 1, 1, 2), DType.F32)), 0),
        ["slice of bytes"] = ((c, g) => g.Output("y", g.Cast(g.Slice(g.Input("a", new Shape(4, 3), DType.U8), 1, 1, 2), DType.F32)), 0),
        ["pad constant"] = ((c, g) => g.Output("y", g.Add(new PadOp([0, 1, 2], [1, 0, 3], PadMode.Constant, 7), c.In(g, "a", 2, 3, 4))), 0),
        ["pad reflect"] = ((c, g) => g.Output("y", g.Add(new PadOp([2, 1], [1, 3], PadMode.Reflect), c.In(g, "a", 4, 5))), 0),
        ["pad edge"] = ((c, g) => g.Output("y", g.Add(new PadOp([2, 1], [1, 3], PadMode.Edge), c.In(g, "a", 4, 5))), 0),
        ["pad wrap"] = ((c, g) => g.Output("y", g.Add(new PadOp([2, 7], [5, 3], PadMode.Wrap), c.In(g, "a", 4, 5))), 0),
        ["expand"] = ((c, g) => g.Output("y", g.Expand(c.In(g, "a", 3, 1), new Shape(2, 3, c.N(17, 4)))), 0),
        ["embedding"] = ((c, g) => g.Output("y", g.Embedding(c.Ids(g, DType.I64, 7), c.W(g, "table", 10, c.N(33, 3)))), 0),
        ["embedding f16 i32"] = ((c, g) => g.Output("y", g.Embedding(c.Ids(g, DType.I32, 5), c.W(g, "table", DType.F16, 10, 4))), 0),
        ["upsample 2x"] = ((c, g) => g.Output("y", g.UpsampleNearest(c.In(g, "a", 2, 3, 5, c.N(17, 2)), 6, 10)), 0),
        ["upsample odd"] = ((c, g) => g.Output("y", g.UpsampleNearest(c.In(g, "a", 1, 3, 5, 2), 7, 8)), 0),
        ["average pool"] = ((c, g) => g.Output("y", g.Add(new AveragePoolOp(3, 2, 2, 1, 1, 1, 0, 1, true, true), c.In(g, "a", 2, 6, 5, c.N(19, 2)))), 2e-6),
        ["average pool of real pixels"] = ((c, g) => g.Output("y", g.Add(new AveragePoolOp(3, 3, 2, 2, 1, 1, 1, 1), c.In(g, "a", 1, 5, 6, 3))), 2e-6),
        ["average pool dilated"] = ((c, g) => g.Output("y", g.Add(new AveragePoolOp(2, 3, 2, 1, 1, 2, 1, 2, DilationH: 2, DilationW: 2), c.In(g, "a", 1, 7, 6, 3))), 2e-6),
        ["max pool"] = ((c, g) => g.Output("y", g.Add(new MaxPoolOp(3, 2, 2, 1, 1, 1, 1, 1, 1, 2), c.In(g, "a", 2, 6, 5, c.N(19, 2)))), 0),
        ["fir up"] = ((c, g) => g.Output("y", g.Add(new FirResampleOp([0.25f, 0.75f, 0.75f, 0.25f], 2, 1, 2, 1), c.In(g, "a", 1, 5, 4, 3))), 2e-6),
        ["fir down"] = ((c, g) => g.Output("y", g.Add(new FirResampleOp([0.125f, 0.375f, 0.4f, 0.1f], 1, 2, 1, 1), c.In(g, "a", 2, 6, 8, c.N(33, 2)))), 2e-6),
        ["sinusoidal"] = ((c, g) => g.Output("y", g.Add(new SinusoidalEmbeddingOp(c.N(129, 9), true, 1), g.Constant([0, 1, 17, 500, 999], new Shape(5)))), 2e-7),
        ["sinusoidal scaled"] = ((c, g) => g.Output("y", g.Add(new SinusoidalEmbeddingOp(c.N(64, 8), false, 0, 1000), g.Constant([0.001f, 0.5f, 0.99f, 3.25f], new Shape(4)))), 2e-7),
        ["fourier"] = ((c, g) => g.Output("y", g.Add(new FourierEmbeddingOp(true, true), g.Constant([0.01f, 0.5f, 1, 3, 80, 900], new Shape(6)), c.Frequencies(g))), 1e-6),
        ["fourier of the time itself"] = ((c, g) => g.Output("y", g.Add(new FourierEmbeddingOp(false, false), g.Constant([0, 0.5f, 3, -20], new Shape(4)), c.Frequencies(g))), 2e-7),
        ["resize linear"] = ((c, g) => g.Output("y", g.Add(new ResizeOp(7, 3, ResizeMode.Linear), c.In(g, "a", 2, 4, 5, c.N(17, 2)))), 2e-6),
        ["resize cubic antialias"] = ((c, g) => g.Output("y", g.Add(new ResizeOp(3, 8, ResizeMode.Cubic, Antialias: true), c.In(g, "a", 1, 7, 5, 3))), 2e-6),
        ["conv transposed"] = ((c, g) => g.Output("y", g.Add(new ConvTranspose2dOp(true, 2, 2, 1, 1, 1, 0, 1, 0), c.In(g, "x", 2, c.N(5, 2), 3, c.N(7, 2)), c.W(g, "w", c.N(7, 2), c.N(9, 3), 4, 3), c.W(g, "b", c.N(9, 3)))), 2e-6),
        ["conv transposed grouped"] = ((c, g) => g.Output("y", g.Add(new ConvTranspose2dOp(false, 1, 2, DilationH: 2, Groups: 2), c.In(g, "x", 1, 3, 4, 6), c.W(g, "w", 6, 2, 2, 3))), 2e-6),
        ["nearest code"] = ((c, g) => g.Output("y", g.Cast(g.Add(new NearestCodeOp(), c.In(g, "x", 3, c.N(37, 3), 4), c.W(g, "table", c.N(33, 5), 4)), DType.F32)), 0),
        ["pick token"] = ((c, g) => g.Output("y", g.Add(new PickTokenOp(7), c.In(g, "x", 3, c.N(21, 4), 5), g.Input("ids", new Shape(3, c.N(21, 4)), DType.I64))), 0),
        ["pick largest token"] = ((c, g) => g.Output("y", g.Add(new PickTokenOp(-1), c.In(g, "x", 3, c.N(21, 4), 5), g.Input("ids", new Shape(3, c.N(21, 4)), DType.I64))), 0),
        ["cast f16"] = ((c, g) => g.Output("y", g.Cast(g.Cast(c.Wide(g), DType.F16), DType.F32)), 0),
        ["cast bf16"] = ((c, g) => g.Output("y", g.Cast(g.Cast(c.Wide(g), DType.BF16), DType.F32)), 0),
        ["cast i32"] = ((c, g) => g.Output("y", g.Cast(g.Input("a", new Shape(9), DType.I32), DType.F32)), 0),
        ["cast of a half weight"] = ((c, g) => g.Output("y", g.Cast(c.W(g, "a", DType.F16, 9), DType.F32)), 0),
    };

    public static Dictionary<string, double[]> Fill(Graph graph) => graph.Inputs.ToDictionary(i => i.Key, i =>
    {
        var type = graph.Nodes[i.Value].Type;
        double[] values = GraphRunner.Numbers(type.Shape.Count, i.Value + 1);
        return type.DType.IsFloat() ? values : Array.ConvertAll(values, v => Math.Floor((v + 1) * 5));
    });

    private int N(int odd, int small) => tiny ? small : odd;

    private Value In(Graph g, string name, params long[] shape) => g.Input(name, new Shape(shape));

    private Value W(Graph g, string name, params long[] shape) => W(g, name, DType.F32, shape);

    private Value W(Graph g, string name, DType type, params long[] shape) =>
        g.Weight(new ArrayWeight(name, new Shape(shape), GraphRunner.Numbers(new Shape(shape).Count, name.Length + 7), type));

    private Value Ids(Graph g, DType type, long count) => g.Input("ids", new Shape(count), type);

    private Value Frequencies(Graph g) => g.Weight(new ArrayWeight("w", new Shape(9), Array.ConvertAll(GraphRunner.Numbers(9, 3), v => (double)(float)(v * 40))));

    // Numbers of every size that halves round differently: subnormal, normal, too large, ties.
    private Value Wide(Graph g) => g.Constant(
        [0, -0f, 1, -1.5f, 65504, 65519.996f, 65520, -70000, 6.1e-5f, 6.0e-5f, 5.9604645e-8f, 2.9802322e-8f, 2.98023235e-8f, 1e-8f, 1.0009765f, 1.00048828125f, 1.00146484375f, 0.1f, 3.4e38f, 1e-40f, 2049, 2051],
        new Shape(22));

    private Value Conv(Graph g, long[] x, long outputs, long kernel, Conv2dOp op) => g.Conv2d(In(g, "x", x), W(g, "weight", outputs, x[3], kernel, kernel), W(g, "b", outputs), op);

    private void LinearEpilogue(Graph g)
    {
        int k = N(33, 5);
        var x = In(g, "x", 2, N(9, 3), k);
        var y = g.Unary(Unary.Gelu, g.Linear(x, W(g, "w", k, k), W(g, "b", k)));
        g.Output("y", g.Affine(g.Plus(y, x), 0.75));
    }

    private void LinearChannel(Graph g)
    {
        var y = g.Linear(In(g, "x", 3, N(9, 2), 7), W(g, "w", N(21, 6), 7));
        g.Output("y", g.Silu(g.Plus(y, In(g, "channel", 3, 1, N(21, 6)))));
    }

    private void HiddenKeys(Graph g)
    {
        // The second query sees nothing, the first all but the last key.
        float inf = float.NegativeInfinity;
        var mask = g.Constant([0, 0, inf, inf, inf, inf], new Shape(2, 3));
        g.Output("y", g.Attention(In(g, "q", 1, 2, 4), In(g, "k", 1, 3, 4), In(g, "v", 1, 3, 4), 2, 1, mask: mask));
    }

    private void ResnetTail(Graph g)
    {
        int c = N(20, 3), o = N(24, 5);
        var h = Conv(g, [3, N(6, 2), N(5, 3), c], o, 3, Same);
        h = g.Plus(h, g.Reshape(In(g, "temb", 3, o), 3, 1, 1, o));
        g.Output("y", g.Affine(g.Plus(In(g, "skip", 3, N(6, 2), N(5, 3), o), h), 0.7071));
    }

    private void Modulated(Graph g)
    {
        int c = N(18, 4);
        var x = g.GroupNorm(In(g, "x", 2, N(4, 2), N(5, 3), c), W(g, "w", c), W(g, "b", c), 2, 1e-6);
        g.Output("y", g.Silu(g.Plus(g.Times(x, g.Affine(In(g, "s", 2, 1, 1, c), 1, 1)), In(g, "t", 2, 1, 1, c))));
    }

    private void Geglu(Graph g)
    {
        int half = N(23, 3);
        var x = g.Affine(In(g, "x", 5, 2 * half), 3);
        g.Output("y", g.Times(g.Slice(x, 1, 0, half), g.Unary(Unary.Gelu, g.Slice(x, 1, half, half))));
    }
}
