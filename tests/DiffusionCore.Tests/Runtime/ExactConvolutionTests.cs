using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Runtime;

public class ExactConvolutionTests
{
    private static Graph Record(int batch)
    {
        var g = new Graph();
        var x = g.Input("x", new Shape(batch, 17, 19, 48));
        var w = g.Weight(new ArrayWeight("w", new Shape(64, 48, 3, 3), GraphRunner.Numbers(64 * 48 * 9, 1)));
        g.Output("y", g.Conv2d(x, w, null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1)));
        return g;
    }

    [Theory]
    [InlineData(false, "winograd-f4")]
    [InlineData(true, "direct-tap")]
    public void The_device_option_chooses_the_kernel(bool exact, string kernel)
    {
        using var device = new CpuDevice(2, exact);
        var step = Assert.Single(device.Plan(Record(1)).Segments[(int)Rate.Step].Steps);
        Assert.Equal(kernel, step.Implementation.Name);
        Assert.Equal(exact, step.Declined.Any(d => d.Reason.Contains("exact", StringComparison.Ordinal)));
    }

    [Fact]
    public void Both_agree_with_double_and_exact_sums_are_closer()
    {
        var graph = Record(2);
        var inputs = new Dictionary<string, double[]> { ["x"] = GraphRunner.Numbers(2 * 17 * 19 * 48, 3) };
        var expected = Interpreter.Run(graph, inputs)["y"];
        using var fast = new CpuDevice(2);
        using var exact = new CpuDevice(2, exact: true);
        double fastError = GraphRunner.RelativeError(expected, GraphRunner.OnDevice(fast, graph, inputs)["y"]);
        double exactError = GraphRunner.RelativeError(expected, GraphRunner.OnDevice(exact, graph, inputs)["y"]);
        Assert.True(fastError < 5e-6, $"{fastError}");
        Assert.True(exactError < fastError, $"{exactError} beside {fastError}");
    }

    [Fact]
    public void An_image_has_the_same_bytes_in_any_batch()
    {
        const int Image = 17 * 19 * 48, Result = 17 * 19 * 64;
        var x = GraphRunner.Numbers(5 * Image, 3);
        using var device = new CpuDevice(3);
        var together = GraphRunner.OnDevice(device, Record(5), new Dictionary<string, double[]> { ["x"] = x })["y"];
        for (int i = 0; i < 5; i++)
        {
            var alone = GraphRunner.OnDevice(device, Record(1), new Dictionary<string, double[]> { ["x"] = x[(i * Image)..((i + 1) * Image)] })["y"];
            Assert.Equal(together[(i * Result)..((i + 1) * Result)], alone);
        }
    }
}
