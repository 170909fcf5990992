using CsCheck;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Tests.Runtime;

public class PlanTests
{
    /// <summary>Random lifetimes: buffers that live at the same time share no byte, and the total is what the highest needs.</summary>
    [Fact]
    public void Buffers_that_live_at_the_same_time_do_not_overlap() =>
        Gen.Select(Gen.Long[1, 5000], Gen.Int[0, 30], Gen.Int[0, 30]).Select(t => new Lifetime(t.Item1, Math.Min(t.Item2, t.Item3), Math.Max(t.Item2, t.Item3)))
            .Array[1, 60].Sample(
                buffers =>
                {
                    var (offsets, total) = ArenaPass.Place(buffers);
                    long least = 0;
                    for (int step = 0; step <= 30; step++) least = Math.Max(least, buffers.Where(b => b.First <= step && step <= b.Last).Sum(b => b.Bytes));
                    Assert.True(total >= least);
                    for (int i = 0; i < buffers.Length; i++)
                    {
                        Assert.Equal(0, offsets[i] % ArenaPass.Alignment);
                        Assert.True(offsets[i] + buffers[i].Bytes <= total);
                        for (int j = 0; j < i; j++)
                        {
                            bool together = buffers[i].First <= buffers[j].Last && buffers[j].First <= buffers[i].Last;
                            bool apart = offsets[i] + buffers[i].Bytes <= offsets[j] || offsets[j] + buffers[j].Bytes <= offsets[i];
                            Assert.True(!together || apart, $"{buffers[i]} at {offsets[i]} and {buffers[j]} at {offsets[j]}");
                        }
                    }
                },
                iter: 2000);

    /// <summary>Random graphs of element-wise operations over three rates, run twice: a buffer that was reused too early changes a number.</summary>
    [Fact]
    public void Random_graphs_give_the_interpreters_numbers_twice()
    {
        using var device = new CpuDevice(2);
        Gen.Int[0, int.MaxValue].Sample(
            seed =>
            {
                var graph = RandomGraph(new Random(seed));
                var inputs = graph.Inputs.ToDictionary(i => i.Key, i => GraphRunner.Numbers(graph.Nodes[i.Value].Type.Shape.Count, i.Value));
                var expected = Interpreter.Run(graph, inputs);
                foreach (bool fuse in new[] { true, false })
                {
                    var got = GraphRunner.OnDevice(device, graph, inputs, fuse);
                    foreach (var (name, values) in expected) Assert.True(GraphRunner.RelativeError(values, got[name]) < 1e-5, $"seed {seed} output {name} fuse {fuse}");
                }
            },
            iter: 300, threads: 1);
    }

    [Fact]
    public void Rates_are_planned_apart_and_a_request_value_survives_many_steps()
    {
        var g = new Graph();
        var w = g.Weight(new ArrayWeight("w", new Shape(4), [1, 2, 3, 4]));
        var request = g.Input("c", new Shape(4), rate: Rate.Request);
        var step = g.Input("x", new Shape(4));
        var loaded = g.Affine(w, 2);
        var conditioned = g.Plus(loaded, request);
        g.Output("y", g.Times(conditioned, step));
        using var device = new CpuDevice(1);
        var plan = device.Plan(g);
        Assert.Equal([1, 1, 1], plan.Segments.Select(s => s.Steps.Count));
        using var store = device.CreateWeightStore();
        using var executable = device.Prepare(plan, store);
        using var c = device.Allocate(16);
        using var x = device.Allocate(16);
        executable.Bind("c", c);
        executable.Bind("x", x);
        Put(device, c, [1, 1, 1, 1]);
        executable.Run(Rate.Request);
        Put(device, c, [9, 9, 9, 9]);                     // not seen: the request was run before
        for (int i = 1; i <= 3; i++)
        {
            Put(device, x, [i, i, i, i]);
            executable.Run(Rate.Step);
            Assert.Equal([3f * i, 5f * i, 7f * i, 9f * i], Get(device, executable.Output("y"), 4));
        }

        Assert.Equal(plan.ArenaBytes, executable.AllocatedBytes);
    }

    [Fact]
    public void An_unbound_input_and_an_unknown_name_are_errors()
    {
        var g = new Graph();
        g.Output("y", g.Affine(g.Input("x", new Shape(4)), 2));
        using var device = new CpuDevice(1);
        using var store = device.CreateWeightStore();
        using var executable = device.Prepare(device.Plan(g), store);
        Assert.Throws<InvalidOperationException>(() => executable.Run(Rate.Step));
        using var small = device.Allocate(8);
        Assert.Throws<ArgumentException>(() => executable.Bind("x", small));
        Assert.Throws<ArgumentException>(() => executable.Bind("z", small));
        Assert.Throws<ArgumentException>(() => executable.Output("z"));
    }

    [Fact]
    public void A_convolution_with_its_neighbours_becomes_one_step_and_a_shared_value_is_not_fused_away()
    {
        var g = new Graph();
        var x = g.Input("x", new Shape(1, 8, 8, 16));
        var w = g.Weight(new ArrayWeight("w", new Shape(16, 16, 3, 3), GraphRunner.Numbers(16 * 16 * 9, 1)));
        var h = g.Conv2d(x, w, null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1));
        g.Output("y", g.Affine(g.Plus(h, x), 0.5));
        var fused = FusePass.Run(g);
        Assert.Single(fused.Nodes, n => n.Op is FusedConv2dOp { Epilogue: { Residual: true, Scale: 0.5f } });
        Assert.DoesNotContain(fused.Nodes, n => n.Op is BinaryOp or AffineOp);

        g.Output("h", h);
        Assert.Contains(FusePass.Run(g).Nodes, n => n.Op is Conv2dOp);
    }

    [Fact]
    public void An_enlarged_map_is_not_stored_where_the_device_convolves_it_in_place()
    {
        var g = new Graph();
        var x = g.Input("x", new Shape(1, 8, 8, 16));
        var w = g.Weight(new ArrayWeight("w", new Shape(16, 16, 3, 3), GraphRunner.Numbers(16 * 16 * 9, 1)));
        g.Output("y", g.Unary(Unary.Silu, g.Conv2d(g.UpsampleNearest(x, 16, 16), w, null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1))));
        using var device = new CpuDevice(1);
        Assert.Single(device.Plan(g).Segments[(int)Rate.Step].Steps, s => s.Node.Op is UpsampledConv2dOp { Factor: 2, Epilogue.Activation: Activation.Silu });
        Assert.Contains(FusePass.Run(g).Nodes, n => n.Op is UpsampleNearestOp);     // a device that has no such kernel
    }

    /// <summary>F(4x4, 3x3) does 36 products for 16 results of 9 each: a quarter; exact sums do all of them.</summary>
    [Fact]
    public void A_step_tells_what_it_executes_beside_what_its_operation_defines()
    {
        var g = new Graph();
        var w = g.Weight(new ArrayWeight("w", new Shape(64, 64, 3, 3), GraphRunner.Numbers(64 * 64 * 9, 1)));
        g.Output("y", g.Conv2d(g.Input("x", new Shape(2, 32, 32, 64)), w, null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1)));
        using CpuDevice fast = new(1), exact = new(1, exact: true);
        PlanStep winograd = fast.Plan(g).Segments[(int)Rate.Step].Steps.Single(), direct = exact.Plan(g).Segments[(int)Rate.Step].Steps.Single();
        Assert.Equal("winograd-f4", winograd.Implementation.Name);
        Assert.Equal(winograd.Cost.Flops / 4, winograd.ExecutedFlops);
        Assert.Equal(direct.Cost.Flops, direct.ExecutedFlops);
        Assert.Equal(winograd.Cost, direct.Cost);
    }

    private static Graph RandomGraph(Random random)
    {
        var g = new Graph();
        var shape = new Shape(random.Next(1, 4), random.Next(1, 40));
        var values = new List<Value> { g.Weight(new ArrayWeight("w", shape, GraphRunner.Numbers(shape.Count, 3))), g.Input("c", shape, rate: Rate.Request), g.Input("x", shape) };
        int nodes = random.Next(3, 25);
        for (int i = 0; i < nodes; i++)
        {
            var a = values[random.Next(values.Count)];
            var b = values[random.Next(values.Count)];
            values.Add(random.Next(7) switch
            {
                0 => g.Unary(Unary.Tanh, a),
                1 => g.Plus(a, b),
                2 => g.Times(a, b),
                3 => g.Affine(a, 0.5, 0.25),
                4 => g.Slice(g.Concat(1, a, b), 1, shape[1] / 2, shape[1]),
                5 => g.Transpose(g.Reshape(g.Transpose(a, 1, 0), shape[1], shape[0]), 1, 0),
                _ => g.Binary(Binary.Max, a, b),
            });
        }

        g.Output("last", g.Plus(values[^1], values[2]));
        g.Output("middle", g.Affine(values[random.Next(3, values.Count)], 2));
        return g;
    }

    private static void Put(Device device, DeviceBuffer buffer, float[] values) => device.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()), buffer);

    private static float[] Get(Device device, DeviceBuffer buffer, int count)
    {
        var values = new float[count];
        device.Download(buffer, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }
}
