using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;

namespace DiffusionCore.Gpu.Tests;

/// <summary>Every operation, fused and not, against its double-precision meaning: tiny on ILGPU's CPU accelerator, odd shapes on OpenCL.</summary>
[Collection(Devices.Name)]
public class OpTests
{
    /// <summary>Cases that no kernel takes: they must still compute, on the host, and say so.</summary>
    private static readonly string[] OnHost = ["linear computed weight", "concat of a half weight", "slice of bytes", "cast of a half weight"];

    public static TheoryData<string> Names() => [.. OpCases.All.Keys];

    public static TheoryData<Unary> UnaryFunctions() => [.. Enum.GetValues<Unary>()];

    public static TheoryData<Binary> BinaryFunctions() => [.. Enum.GetValues<Binary>()];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_tiny_operation_computes_what_it_means_on_ilgpu_cpu(string name) => Check(Devices.IlgpuCpu, name, tiny: true);

    [OpenCLTheory]
    [MemberData(nameof(Names))]
    public void An_operation_computes_what_it_means_on_opencl(string name) => Check(Devices.OpenCL, name, tiny: false);

    [Theory]
    [MemberData(nameof(UnaryFunctions))]
    public void A_function_computes_what_it_means_on_ilgpu_cpu(Unary function) => CheckFunction(Devices.IlgpuCpu, function, 41);

    [OpenCLTheory]
    [MemberData(nameof(UnaryFunctions))]
    public void A_function_computes_what_it_means_on_opencl(Unary function) => CheckFunction(Devices.OpenCL, function, 1111);

    [Theory]
    [MemberData(nameof(BinaryFunctions))]
    public void A_function_of_two_numbers_computes_what_it_means_on_ilgpu_cpu(Binary function) => CheckFunction(Devices.IlgpuCpu, function);

    [OpenCLTheory]
    [MemberData(nameof(BinaryFunctions))]
    public void A_function_of_two_numbers_computes_what_it_means_on_opencl(Binary function) => CheckFunction(Devices.OpenCL, function);

    [OpenCLFact]
    public void Special_numbers_pass_through_the_functions()
    {
        double inf = double.PositiveInfinity, nan = double.NaN;
        double[] x = [0, -0.0, inf, -inf, nan, 88.8, -88, 1e-42, 3e38, -3e38];
        foreach (var function in Enum.GetValues<Unary>())
        {
            if (function is Unary.Sin or Unary.Cos) continue;       // beyond 1e4 they have no accuracy to speak of
            var graph = new Graph();
            graph.Output("y", graph.Unary(function, graph.Input("x", new Shape(x.Length))));
            // The oracle of erf takes no NaN.
            double[] expected = Array.ConvertAll(x, v => double.IsNaN(v) ? v : Interpreter.Apply(function, (float)v)), got = GraphRunner.OnDevice(Devices.OpenCL, graph, new Dictionary<string, double[]> { ["x"] = x })["y"];
            for (int i = 0; i < x.Length; i++)
            {
                float want = (float)expected[i];
                if (Math.Abs(want) < 1.2e-38 || float.IsNaN(want) && x[i] == -inf) continue;        // subnormal results become zero; -inf * 0 is a matter of taste
                bool same = float.IsNaN(want) ? double.IsNaN(got[i]) : float.IsInfinity(want) ? got[i] == want : Math.Abs(got[i] - want) <= 2e-5 * Math.Abs(want);
                Assert.True(same, $"{function}({x[i]}): expected {want}, found {got[i]}");
            }
        }
    }

    [OpenCLFact]
    public void An_id_outside_the_table_is_an_error_and_the_next_run_is_not()
    {
        var graph = new Graph();
        var ids = graph.Input("ids", new Shape(3), DType.I64, Rate.Request);
        graph.Output("y", graph.Embedding(ids, graph.Weight(new ArrayWeight("table", new Shape(4, 2), GraphRunner.Numbers(8, 1)))));
        using var weights = Devices.OpenCL.CreateWeightStore();
        using var executable = Devices.OpenCL.Prepare(Devices.OpenCL.Plan(graph), weights);
        using var buffer = Devices.OpenCL.Allocate(3 * sizeof(long));
        executable.Bind("ids", buffer);
        foreach (long bad in new[] { 4L, -1, long.MaxValue })
        {
            Upload(0, bad, 3);
            Assert.Contains("4 rows", Assert.Throws<UsageException>(() => executable.Run(Rate.Request)).Message);
            Upload(0, 1, 3);
            executable.Run(Rate.Request);
        }

        void Upload(params long[] values) => Devices.OpenCL.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()), buffer);
    }

    private static void Check(IlgpuDevice device, string name, bool tiny)
    {
        var (record, bound) = OpCases.All[name];
        var graph = new Graph();
        record(new OpCases(tiny), graph);
        var inputs = OpCases.Fill(graph);
        double[] expected = Array.ConvertAll(Interpreter.Run(graph, inputs)["y"], v => (double)(float)v);
        foreach (bool fuse in new[] { false, true })
        {
            bool host = device.Plan(graph, fuse).Segments.Any(s => s.Steps.Any(t => t.Implementation.Name == "reference-on-host"));
            Assert.True(host == OnHost.Contains(name), $"{name}, fuse {fuse}: {(host ? "a step runs on the host" : "no step runs on the host")}");
            double error = Error(expected, GraphRunner.OnDevice(device, graph, inputs, fuse)["y"]);
            Assert.True(error <= bound, $"{name}, fuse {fuse}: relative error {error:E2} above {bound:E1}");
        }
    }

    // As GraphRunner.RelativeError, where infinities must agree.
    private static double Error(double[] expected, double[] got)
    {
        for (int i = 0; i < expected.Length; i++)
            if (double.IsInfinity(expected[i]) && got[i] != expected[i]) return double.PositiveInfinity;
        return GraphRunner.RelativeError(Array.ConvertAll(expected, v => double.IsInfinity(v) ? 0 : v), [.. got.Select((v, i) => double.IsInfinity(expected[i]) ? 0 : v)]);
    }

    private static void CheckFunction(IlgpuDevice device, Unary function, int count)
    {
        var graph = new Graph();
        var x = graph.Input("x", new Shape(count));
        bool positive = function is Unary.Log or Unary.Sqrt or Unary.Reciprocal;
        graph.Output("y", graph.Unary(function, positive ? graph.Affine(x, 5, 5.5) : graph.Affine(x, 8)));
        var inputs = OpCases.Fill(graph);
        double error = GraphRunner.RelativeError(Interpreter.Run(graph, inputs)["y"], GraphRunner.OnDevice(device, graph, inputs)["y"]);
        Assert.True(error <= 1e-6, $"{function}: {error:E2}");
    }

    private static void CheckFunction(IlgpuDevice device, Binary function)
    {
        float[] a = [-2, 3, 0.5f, -1, 0, 7, 2, -8, 1.5f, 0, -3, 4], b = [3, 2, -1.5f, 4, 2, 0, 7, -3, 2.5f, 3, 2, 0.5f];
        if (function == Binary.Div) b[4] = b[5] = 4;
        var graph = new Graph();
        graph.Output("y", graph.Binary(function, graph.Constant(a, new Shape(12)), graph.Constant(b, new Shape(12))));
        var none = new Dictionary<string, double[]>();
        double[] expected = Interpreter.Run(graph, none)["y"], got = GraphRunner.OnDevice(device, graph, none)["y"];
        for (int i = 0; i < a.Length; i++)
            Assert.True(Math.Abs(expected[i] - got[i]) <= 2e-6 * Math.Abs(expected[i]), $"{function}({a[i]}, {b[i]}): expected {expected[i]}, found {got[i]}");
    }
}
