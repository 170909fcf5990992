using System.Text.Json;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Runtime;

/// <summary>
/// The operator cases of the ONNX backend tests for the families that the runtime has. Each is translated to this runtime's operations (channels
/// last, one softmax axis, ...) and run on the CPU. Left out, by <see cref="Excluded"/>: element types that the runtime does not compute with,
/// maps of three spatial axes, and resizing of a cropped region.
/// </summary>
[Trait("Category", "Conformance")]
public partial class OnnxNodeTests
{
    private static readonly Dictionary<string, Unary> Functions = new(StringComparer.Ordinal)
    {
        ["Sigmoid"] = Unary.Sigmoid, ["Relu"] = Unary.Relu, ["Tanh"] = Unary.Tanh, ["Exp"] = Unary.Exp, ["Log"] = Unary.Log, ["Sqrt"] = Unary.Sqrt, ["Sin"] = Unary.Sin, ["Cos"] = Unary.Cos,
        ["Neg"] = Unary.Neg, ["Abs"] = Unary.Abs, ["Erf"] = Unary.Erf, ["Reciprocal"] = Unary.Reciprocal, ["Softplus"] = Unary.Softplus, ["Gelu"] = Unary.Gelu, ["Swish"] = Unary.Silu,
    };

    private static readonly Dictionary<string, Binary> Combinations = new(StringComparer.Ordinal)
    {
        ["Add"] = Binary.Add, ["Sub"] = Binary.Sub, ["Mul"] = Binary.Mul, ["Div"] = Binary.Div, ["Max"] = Binary.Max, ["Min"] = Binary.Min, ["Pow"] = Binary.Pow,
    };

    private static readonly string[] Others =
        ["Concat", "Slice", "Pad", "Conv", "Gemm", "MatMul", "Softmax", "AveragePool", "GlobalAveragePool", "Resize", "Upsample", "GroupNormalization", "Cast", "Transpose", "Reshape", "Expand", "LayerNormalization"];

    private static readonly Dictionary<string, JsonElement> All = Load();

    public static TheoryData<string> Names() => All.Count == 0 ? ["none"] : [.. All.Where(c => Excluded(c.Value) is null).Select(c => c.Key)];

    [ConformanceTheory]
    [MemberData(nameof(Names))]
    public void An_operator_gives_the_expected_numbers(string name)
    {
        var c = All[name];
        using var file = SafetensorsFile.Open(ConformanceData.PathOf("onnx-node", c.GetProperty("file").GetString()!));
        var tensors = c.GetProperty("inputs").EnumerateArray().Select(i => i.ValueKind == JsonValueKind.Null ? null : Read(file, i)).ToArray();
        var expected = Read(file, c.GetProperty("outputs")[0])!;
        var graph = new Graph();
        var inputs = new Dictionary<string, double[]>();
        var y = Translate(c, graph, tensors, expected, index =>
        {
            inputs[$"x{index}"] = tensors[index]!.Values;
            return graph.Input($"x{index}", tensors[index]!.Shape, tensors[index]!.Type is DType.F64 ? DType.F32 : tensors[index]!.Type);
        });
        graph.Output("y", y);
        using var device = new CpuDevice(1);
        var got = GraphRunner.OnDevice(device, graph, inputs)["y"];
        Assert.Equal(expected.Values.Length, got.Length);
        for (int i = 0; i < got.Length; i++)
        {
            double want = expected.Values[i];
            Assert.True(want.Equals(got[i]) || Math.Abs(want - got[i]) <= 1e-7 + 1e-3 * Math.Abs(want), $"{name}[{i}]: expected {want}, got {got[i]}");
        }
    }

    [ConformanceFact]
    public void Most_of_the_families_are_covered()
    {
        int covered = All.Count(c => Excluded(c.Value) is null);
        Assert.True(covered >= 340, $"{covered} of {All.Count}");
    }

    private sealed record Numbers(Shape Shape, DType Type, double[] Values);

    private static Dictionary<string, JsonElement> Load()
    {
        if (ConformanceData.Folder is null) return [];
        using var document = JsonDocument.Parse(File.ReadAllBytes(ConformanceData.PathOf("onnx-node", "index.json")));
        string[] known = [.. Functions.Keys, .. Combinations.Keys, .. Others, .. Spatial, .. Tokens];
        return document.RootElement.GetProperty("cases").EnumerateArray().Where(c => known.Contains(c.GetProperty("op").GetString()))
            .ToDictionary(c => c.GetProperty("name").GetString()!, c => c.Clone());
    }

    private static Numbers Read(SafetensorsFile file, JsonElement entry)
    {
        var tensor = file.Tensors[entry.GetProperty("key").GetString()!];
        var bytes = new byte[tensor.Bytes];
        file.Read(tensor, bytes);
        var type = tensor.Type.ToDType()!.Value;
        return new Numbers(new Shape(tensor.Dims), type, Interpreter.FromBytes(bytes, type));
    }

    /// <summary>Why a case of a known family is not run; null where it is.</summary>
    private static string? Excluded(JsonElement c)
    {
        string op = c.GetProperty("op").GetString()!;
        var inputs = c.GetProperty("inputs").EnumerateArray().ToArray();
        string Type(JsonElement e) => e.GetProperty("dtype").GetString()!;
        int Rank(JsonElement e) => e.GetProperty("shape").GetArrayLength();
        string first = Type(inputs[0]);
        if (op == "Cast") return Type(c.GetProperty("outputs")[0]) is "F32" or "F64" or "F16" or "BF16" && first is "F32" or "F64" or "F16" or "BF16" ? null : "type";
        if (first is not ("F32" or "F64")) return "type";
        if (Combinations.ContainsKey(op)) return inputs.Length == 2 && inputs.All(i => Type(i) == "F32") && !c.GetProperty("attributes").TryGetProperty("axis", out _) ? null : "type or count";
        if (op is "Conv" or "AveragePool" or "GlobalAveragePool" && Rank(inputs[0]) > 4) return "rank";
        if (op == "GroupNormalization" && inputs[1].GetProperty("shape")[0].GetInt32() != inputs[0].GetProperty("shape")[1].GetInt32()) return "scale per group";
        if (ExcludedSpatial(c, op, Rank(inputs[0])) is { } reason) return reason;
        return ExcludedTokens(c, op);
    }

    private static Value Translate(JsonElement c, Graph g, Numbers?[] t, Numbers expected, Func<int, Value> input)
    {
        string op = c.GetProperty("op").GetString()!;
        var attributes = c.GetProperty("attributes");
        int Int(string name, int fallback) => attributes.TryGetProperty(name, out var e) ? e.GetInt32() : fallback;
        double Real(string name, double fallback) => attributes.TryGetProperty(name, out var e) ? e.GetDouble() : fallback;
        string Text(string name, string fallback) => attributes.TryGetProperty(name, out var e) ? e.GetString()! : fallback;
        int[] Ints(string name, int[] fallback) => attributes.TryGetProperty(name, out var e) ? [.. e.EnumerateArray().Select(v => v.GetInt32())] : fallback;
        Value Weight(int index, Shape? shape = null) => g.Weight(new ArrayWeight($"w{index}", shape ?? t[index]!.Shape, t[index]!.Values));

        if (Functions.TryGetValue(op, out var function)) return g.Unary(Text("approximate", "none") == "tanh" ? Unary.GeluTanh : function, input(0));
        if (Combinations.TryGetValue(op, out var combination)) return g.Binary(combination, input(0), input(1));
        var x = op is "Reshape" or "Flatten" or "Attention" ? default : input(0);
        int rank = t[0]!.Shape.Rank;
        switch (op)
        {
            case "Concat":
                return g.Concat(Int("axis", 0), [x, .. Enumerable.Range(1, t.Length - 1).Select(input)]);
            case "Cast":
                return g.Cast(x, expected.Type);
            case "Transpose":
                return g.Transpose(x, Ints("perm", [.. Enumerable.Range(0, rank).Reverse()]));
            case "Expand":
                return g.Expand(x, expected.Shape);
            case "Reshape":
                return g.Reshape(input(0), expected.Shape.ToArray());
            case "MatMul":
                var b = input(1);
                if (rank == 1) x = g.Reshape(x, 1, x.Shape[0]);
                if (b.Shape.Rank == 1) b = g.Reshape(b, b.Shape[0], 1);
                return g.Reshape(g.MatMul(x, b), expected.Shape.ToArray());
            case "Gemm":
                if (Int("transA", 0) == 1) x = g.Transpose(x, 1, 0);
                var product = g.Affine(g.MatMul(x, input(1), false, Int("transB", 0) == 1), Real("alpha", 1));
                return t.Length < 3 ? product : g.Plus(product, g.Affine(input(2), Real("beta", 1)));
            case "Softmax":
                int axis = Int("axis", c.GetProperty("opset").GetInt32() < 13 ? 1 : -1);
                axis = axis < 0 ? axis + rank : axis;
                if (c.GetProperty("opset").GetInt32() < 13)
                {
                    long outer = t[0]!.Shape.ToArray()[..axis].Aggregate(1L, (p, d) => p * d);
                    return g.Reshape(g.Softmax(g.Reshape(x, outer, t[0]!.Shape.Count / outer)), expected.Shape.ToArray());
                }

                int[] swap = [.. Enumerable.Range(0, rank)];
                (swap[axis], swap[^1]) = (swap[^1], swap[axis]);
                return g.Transpose(g.Softmax(g.Transpose(x, swap)), swap);
            case "LayerNormalization":
            case "RMSNormalization":
                return NormalizedTail(c, g, x, (i, shape) => Weight(i, shape), expected);
            case "Attention":
                return Attended(c, g, t, input, expected);
            case "GroupNormalization":
                return g.ToChannelsFirst(g.GroupNorm(g.ToChannelsLast(x), Weight(1), Weight(2), Int("num_groups", 1), Real("epsilon", 1e-5)));
            case "Resize" or "Upsample":
                return Resized(c, g, x, t, expected);
            case "InstanceNormalization":
                return g.ToChannelsFirst(g.InstanceNorm(g.ToChannelsLast(x), Weight(1), Weight(2), Real("epsilon", 1e-5)));
            case "Slice":
                return Slice(g, x, t);
            case "Pad":
                return Pad(g, x, t, Ints("pads", []), Text("mode", "constant"), Real("value", 0));
            default:
                bool line = rank == 3;                                   // one spatial axis: a map of height 1
                if (line) x = g.Reshape(x, x.Shape[0], x.Shape[1], 1, x.Shape[2]);
                var last = g.ToChannelsLast(x);
                var y = g.ToChannelsFirst(Window(op, g, last, line));
                return g.Reshape(y, expected.Shape.ToArray());
        }

        Value Window(string op, Graph g, Value x, bool line)
        {
            if (op == "GlobalAveragePool") return g.GlobalAveragePool(x);
            if (op == "GlobalMaxPool") return g.Add(new MaxPoolOp((int)x.Shape[1], (int)x.Shape[2], 1, 1), x);
            if (op == "ConvTranspose") return Transposed(c, g, x, line, t);
            int axes = line ? 1 : 2;
            int[] kernel = Ints("kernel_shape", op == "Conv" ? [.. t[1]!.Shape.ToArray()[2..].Select(d => (int)d)] : []);
            int[] stride = Ints("strides", [.. Enumerable.Repeat(1, axes)]), dilation = Ints("dilations", [.. Enumerable.Repeat(1, axes)]), pads = Ints("pads", new int[2 * axes]);
            string auto = Text("auto_pad", "NOTSET");
            if (auto.StartsWith("SAME", StringComparison.Ordinal))
            {
                for (int a = 0; a < axes; a++)
                {
                    int size = (int)x.Shape[line ? 2 : 1 + a];
                    int needed = Math.Max(0, ((size + stride[a] - 1) / stride[a] - 1) * stride[a] + (kernel[a] - 1) * dilation[a] + 1 - size);
                    pads[a] = auto == "SAME_LOWER" ? (needed + 1) / 2 : needed / 2;
                    pads[axes + a] = needed - pads[a];
                }
            }

            int[] Full(int[] v, int one) => line ? [one, v[0]] : v;
            int[] k = Full(kernel, 1), s = Full(stride, 1), d = Full(dilation, 1), before = line ? [0, pads[0]] : pads[..2], after = line ? [0, pads[1]] : pads[2..];
            if (op == "AveragePool")
                return g.Add(new AveragePoolOp(k[0], k[1], s[0], s[1], before[0], before[1], after[0], after[1], Int("count_include_pad", 0) == 1, Int("ceil_mode", 0) == 1, d[0], d[1]), x);
            if (op == "MaxPool") return g.Add(new MaxPoolOp(k[0], k[1], s[0], s[1], before[0], before[1], after[0], after[1], d[0], d[1], Int("ceil_mode", 0) == 1), x);
            var shape = t[1]!.Shape;
            var weight = Weight(1, line ? new Shape(shape[0], shape[1], 1, shape[2]) : shape);
            return g.Conv2d(x, weight, t.Length > 2 ? Weight(2) : null, new Conv2dOp(true, s[0], s[1], before[0], before[1], after[0], after[1], d[0], d[1], Int("group", 1)));
        }
    }

    private static Value Slice(Graph g, Value x, Numbers?[] t)
    {
        int rank = x.Shape.Rank;
        long[] start = new long[rank], step = [.. Enumerable.Repeat(1L, rank)], count = x.Shape.ToArray();
        for (int i = 0; i < t[1]!.Values.Length; i++)
        {
            int axis = t.Length > 3 && t[3] is { } axes ? (int)axes.Values[i] : i;
            if (axis < 0) axis += rank;
            long n = x.Shape[axis], stride = t.Length > 4 && t[4] is { } steps ? (long)steps.Values[i] : 1, from = (long)t[1]!.Values[i], to = (long)t[2]!.Values[i];
            if (from < 0) from += n;
            if (to < 0) to = to + n;
            (from, to) = stride > 0 ? (Math.Clamp(from, 0, n), Math.Clamp(to, 0, n)) : (Math.Clamp(from, 0, n - 1), Math.Clamp(to, -1, n - 1));
            (start[axis], step[axis], count[axis]) = (from, stride, Math.Max(0, (to - from + stride - Math.Sign(stride)) / stride));
        }

        return g.Add(new SliceOp(new(start), new(step), new(count)), x);
    }

    private static Value Pad(Graph g, Value x, Numbers?[] t, int[] fixedPads, string mode, double fill)
    {
        int rank = x.Shape.Rank;
        int[] pads = t.Length > 1 ? [.. t[1]!.Values.Select(v => (int)v)] : fixedPads;
        if (t.Length > 2 && t[2] is { } value) fill = value.Values[0];
        int[] axes = t.Length > 3 && t[3] is { } given ? [.. given.Values.Select(v => (int)v < 0 ? (int)v + rank : (int)v)] : [.. Enumerable.Range(0, rank)];
        long[] before = new long[rank], after = new long[rank];
        for (int i = 0; i < axes.Length; i++) (before[axes[i]], after[axes[i]]) = (pads[i], pads[axes.Length + i]);
        return g.Add(new PadOp(new(before), new(after), Enum.Parse<PadMode>(mode, ignoreCase: true), (float)fill), x);
    }
}
