using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;

namespace DiffusionCore.Tests.Shortcuts;

/// <summary>Matching, merging and unmerging of tokens, and the Haar transform, on the CPU against their meaning.</summary>
public class TokenOpTests
{
    [Theory]
    [InlineData(1, 12, 4, 5, 3)]
    [InlineData(3, 27, 9, 27, 17)]
    [InlineData(2, 33, 11, 0, 64)]
    [InlineData(1, 111, 37, 55, 97)]
    public void Tokens_are_matched_merged_and_unmerged_as_the_reference_says(int images, int sources, int targets, int count, int channels)
    {
        var g = new Graph();
        var x = g.Input("x", new Shape(images, targets + sources, channels));
        var map = g.Add(new TokenMatchOp(count), g.Input("alike", new Shape(images, sources, targets)));
        var merged = g.Add(new TokenMergeOp(targets, count), x, map);
        g.Output("map", map);
        g.Output("merged", merged);
        g.Output("back", g.Add(new TokenUnmergeOp(targets), merged, map));
        var inputs = new Dictionary<string, double[]>
        {
            ["x"] = GraphRunner.Numbers(images * (targets + sources) * channels, 1),
            // Few different values, so that there are ties in a row and between rows.
            ["alike"] = [.. GraphRunner.Numbers(images * sources * targets, 2).Select(v => Math.Round(v * 3) / 4)],
        };
        var want = Interpreter.Run(g, inputs);
        foreach (int threads in (int[])[1, 2])
        {
            using var device = new CpuDevice(threads);
            var got = GraphRunner.OnDevice(device, g, inputs);
            Assert.Equal(want["map"], got["map"]);
            Assert.True(GraphRunner.RelativeError(want["merged"], got["merged"]) < 1e-6);
            Assert.True(GraphRunner.RelativeError(want["back"], got["back"]) < 1e-6);
        }
    }

    [Fact]
    public void Four_sources_and_two_targets_by_hand()
    {
        // Best targets 0, 1, 1, 0 with scores 0.9, 0.5, 0.9, -1: of three that go, the first and the third tie and come before the second.
        double[] alike = [0.9, 0.1, 0.2, 0.5, 0.1, 0.9, -1, -2];
        var y = Interpreter.Evaluate(new TokenMatchOp(2), [new TensorType(new Shape(1, 4, 2), DType.F32)], [alike]);
        Assert.Equal([0, 2, 1, 3], y);
        var types = new[] { new TensorType(new Shape(1, 6, 1), DType.F32), new TensorType(new Shape(1, 4), DType.I32) };
        Assert.Equal([(10 + 1) / 2.0, (20 + 3) / 2.0, 2, 4], Interpreter.Evaluate(new TokenMergeOp(2, 2), types, [[10, 20, 1, 2, 3, 4], y]));
    }

    [Theory]
    [InlineData(1, 1, 1, 1)]
    [InlineData(2, 3, 5, 3)]
    [InlineData(1, 8, 7, 17)]
    public void The_Haar_transform_is_what_its_reference_says_and_its_inverse_gives_whole_numbers_back(int images, int height, int width, int channels)
    {
        var g = new Graph();
        var bands = g.Haar(g.Input("x", new Shape(images, 2 * height, 2 * width, channels)));
        g.Output("bands", bands);
        g.Output("back", g.InverseHaar(bands));
        double[] numbers = GraphRunner.Numbers(4 * images * height * width * channels, 3), whole = Array.ConvertAll(numbers, v => Math.Round(v * 127));
        using var device = new CpuDevice(2);
        var inputs = new Dictionary<string, double[]> { ["x"] = whole };
        var got = GraphRunner.OnDevice(device, g, inputs);
        Assert.Equal(whole, got["back"]);
        Assert.Equal(Interpreter.Run(g, inputs)["bands"], got["bands"]);
        inputs["x"] = numbers;
        got = GraphRunner.OnDevice(device, g, inputs);
        Assert.True(GraphRunner.RelativeError(numbers, got["back"]) < 2.5e-7);
        // Orthonormal: lengths stay.
        Assert.Equal(numbers.Sum(v => v * v), got["bands"].Sum(v => v * v), 1e-5 * numbers.Length);
    }

    [Fact]
    public void Bands_of_a_cell_by_hand()
    {
        var x = new TensorType(new Shape(1, 2, 2, 1), DType.F32);
        Assert.Equal([5, -1, -2, 0], Interpreter.Evaluate(new HaarOp(), [x], [[1, 2, 3, 4]]));
        Assert.Equal([1, 2, 3, 4], Interpreter.Evaluate(new InverseHaarOp(), [new TensorType(new Shape(1, 1, 1, 4), DType.F32)], [[5, -1, -2, 0]]));
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_refused()
    {
        var g = new Graph();
        Assert.Throws<ShapeException>(() => g.Haar(g.Input("odd", new Shape(1, 3, 4, 1))));
        Assert.Throws<ShapeException>(() => g.InverseHaar(g.Input("three", new Shape(1, 2, 2, 3))));
        Assert.Throws<ShapeException>(() => g.Add(new TokenMatchOp(5), g.Input("scores", new Shape(1, 4, 2))));
    }
}
