using DiffusionCore.Kernels.Host;
using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Tests.Runtime;

/// <summary>Concatenations whose operands are written in place: that they are, where they must not be, and that no byte is overwritten before its last reader.</summary>
public class ConcatPlanTests
{
    private const int Channels = 32, Size = 4, Widest = 512;

    [Fact]
    public void A_skip_is_written_where_the_concatenation_has_it()
    {
        using var device = new CpuDevice(2);
        var plan = device.Plan(SkipGraph(Channels));
        Assert.DoesNotContain(plan.Segments[(int)Rate.Step].Steps, s => s.Node.Op is ConcatOp);
        var concat = plan.Graph.Nodes.Single(n => n.Op is ConcatOp);
        for (int i = 0; i < 2; i++)
        {
            Assert.Equal(plan.Places[concat.Id].Offset + i * Channels * sizeof(float), plan.Places[concat.Inputs[i]].Offset);
            Assert.Equal(2 * Channels, plan.Places[concat.Inputs[i]].Pitch);
        }

        Assert.Equal(0, plan.Places[concat.Id].Pitch);
        PlanMemory.Check(plan);
    }

    /// <summary>The bytes are those of a copy: the same kernels see the same numbers in the same order.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void In_place_and_copied_give_the_same_bytes(int threads)
    {
        using var device = new CpuDevice(threads);
        Graph inPlace = SkipGraph(Channels), copied = SkipGraph(Channels, showSkip: true);
        Assert.Contains(device.Plan(copied).Segments[(int)Rate.Step].Steps, s => s.Node.Op is ConcatOp);
        var inputs = inPlace.Inputs.ToDictionary(i => i.Key, i => GraphRunner.Numbers(inPlace.Nodes[i.Value].Type.Shape.Count, i.Value));
        double[] expected = GraphRunner.OnDevice(device, copied, inputs, fuse: true)["y"], got = GraphRunner.OnDevice(device, inPlace, inputs, fuse: true)["y"];
        Assert.Equal(expected, got);
        Assert.True(GraphRunner.RelativeError(Interpreter.Run(inPlace, inputs)["y"], got) < 1e-5);
    }

    [Fact]
    public void Rows_that_do_not_start_on_cache_lines_are_copied()
    {
        using var device = new CpuDevice(1);
        Assert.Contains(device.Plan(SkipGraph(24)).Segments[(int)Rate.Step].Steps, s => s.Node.Op is ConcatOp);
    }

    [Fact]
    public void A_skip_with_a_reader_of_dense_rows_is_copied()
    {
        using var device = new CpuDevice(1);
        Assert.Contains(device.Plan(SkipGraph(Channels, readSkip: true)).Segments[(int)Rate.Step].Steps, s => s.Node.Op is ConcatOp);
    }

    [Fact]
    public void A_value_beside_itself_and_images_after_images_are_copied()
    {
        using var device = new CpuDevice(1);
        foreach (int axis in new[] { 0, 3 })
        {
            var g = new Graph();
            var h = Conv(g, g.Input("x", new Shape(1, Size, Size, Channels)), Channels, 1);
            g.Output("y", Conv(g, g.Concat(axis, h, h), Channels, 2));
            Assert.Single(device.Plan(g).Segments[(int)Rate.Step].Steps, s => s.Node.Op is ConcatOp);
        }
    }

    /// <summary>Random ladders down and up, with norms, products, residuals and skips: memory and numbers.</summary>
    [Fact]
    public void Random_networks_with_skips_overwrite_nothing_that_is_still_read()
    {
        using var device = new CpuDevice(2);
        int inPlace = 0;
        for (int seed = 0; seed < 30; seed++)
        {
            var graph = RandomLadder(new Random(seed));
            var plan = device.Plan(graph);
            inPlace += plan.Graph.Nodes.Count(n => n.Op is ConcatOp) - plan.Segments.Sum(s => s.Steps.Count(t => t.Node.Op is ConcatOp));
            PlanMemory.Check(plan);
            var inputs = graph.Inputs.ToDictionary(i => i.Key, i => GraphRunner.Numbers(graph.Nodes[i.Value].Type.Shape.Count, i.Value));
            var expected = Interpreter.Run(graph, inputs);
            var got = GraphRunner.OnDevice(device, graph, inputs, fuse: true);
            foreach (var (name, values) in expected) Assert.True(GraphRunner.RelativeError(values, got[name]) < 1e-4, $"seed {seed} output {name}");
        }

        Assert.True(inPlace > 40, $"only {inPlace} concatenations were written in place");
    }

    /// <summary>A whole network: copies are left only where their absence would enlarge the arena.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void The_bundled_network_has_few_copies_left_and_overwrites_nothing(int batch)
    {
        using var component = Component.Load(Path.Combine(TestModels.Bundled("fashion-ddpm-32"), "unet"));
        var network = (UNet2DModel)component.Network;
        var g = new Graph();
        var x = g.Input("sample", new Shape(batch, 32, 32, network.Config.InChannels));
        g.Output("y", network.Record(g, x, g.Input("timestep", new Shape(1)), g.Input("class", new Shape(batch), DType.I64, Rate.Request)));
        using var device = new CpuDevice(2);
        var plan = device.Plan(g);
        int all = plan.Graph.Nodes.Count(n => n.Op is ConcatOp), copies = plan.Segments.Sum(s => s.Steps.Count(t => t.Node.Op is ConcatOp));
        Assert.True(copies <= all / 2, $"{copies} of {all} concatenations are copies");
        PlanMemory.Check(plan);
    }

    // A skip beside what is made of it; both widths are `channels`.
    private static Graph SkipGraph(int channels, bool showSkip = false, bool readSkip = false)
    {
        var g = new Graph();
        var skip = Conv(g, g.Input("x", new Shape(2, Size, Size, channels)), channels, 1);
        var h = Conv(g, g.Silu(Norm(g, skip)), channels, 2);
        h = g.Plus(Conv(g, h, channels, 3), skip);
        if (readSkip) g.Output("tanh", g.Unary(Unary.Exp, skip));
        if (showSkip) g.Output("skip", skip);
        g.Output("y", Conv(g, g.Silu(Norm(g, g.Concat(3, h, skip))), channels, 4));
        return g;
    }

    private static Graph RandomLadder(Random random)
    {
        var g = new Graph();
        int levels = random.Next(1, 4), batch = random.Next(1, 3), weight = 0;
        int[] widths = [16, 32, 48];
        var h = Conv(g, g.Input("x", new Shape(batch, Size, Size, 16)), widths[random.Next(3)], ++weight);
        var skips = new Stack<Value>([h]);
        for (int i = 0; i < levels; i++)
        {
            h = Block(h, widths[random.Next(3)]);
            skips.Push(h);
        }

        h = Block(h, widths[random.Next(3)]);
        while (skips.Count > 0)
        {
            h = Block(g.Concat(3, random.Next(2) == 0 ? [h, skips.Pop()] : [skips.Pop(), h]), widths[random.Next(3)]);
        }

        // A wide layer sets the arena's size, so that it is no reason to copy.
        g.Output("y", Conv(g, Conv(g, h, Widest, ++weight), 16, ++weight));
        return g;

        Value Block(Value x, int width)
        {
            var y = Conv(g, g.Silu(Norm(g, x)), width, ++weight);
            if (random.Next(2) == 0)
            {
                // Over tokens, as a transformer: a product with a residual.
                long n = y.Shape[0], pixels = y.Shape[1] * y.Shape[2];
                var tokens = g.Reshape(y, n, pixels, width);
                var w = g.Weight(new ArrayWeight($"l{++weight}", new Shape(width, width), Array.ConvertAll(GraphRunner.Numbers(width * width, weight), v => v / width)));
                return g.Reshape(g.Plus(g.Linear(tokens, w), tokens), y.Shape.ToArray());
            }

            return x.Shape[3] == width && random.Next(2) == 0 ? g.Plus(y, x) : y;
        }
    }

    private static Value Norm(Graph g, Value x)
    {
        int c = (int)x.Shape[3];
        return g.GroupNorm(x, g.Weight(new ArrayWeight($"gamma{c}", new Shape(c), GraphRunner.Numbers(c, 5))), g.Weight(new ArrayWeight($"beta{c}", new Shape(c), GraphRunner.Numbers(c, 6))), 8, 1e-5);
    }

    private static Value Conv(Graph g, Value x, int outputs, int seed)
    {
        int inputs = (int)x.Shape[3];
        var w = new ArrayWeight($"w{seed}", new Shape(outputs, inputs, 3, 3), Array.ConvertAll(GraphRunner.Numbers(outputs * inputs * 9, seed), v => v / (3 * Math.Sqrt(inputs))));
        return g.Conv2d(x, g.Weight(w), null, new Conv2dOp(false, 1, 1, 1, 1, 1, 1));
    }
}

/// <summary>Plays a plan on memory that knows who wrote each element.</summary>
internal static class PlanMemory
{
    private const int Scratch = -1, Nobody = -2;

    /// <summary>Every step finds what it reads as its writer left it, and writes nothing that it reads.</summary>
    public static void Check(Plan plan)
    {
        var nodes = plan.Graph.Nodes;
        int[][] memory = [.. plan.Segments.Select(s => Enumerable.Repeat(Nobody, (int)(s.ArenaBytes / sizeof(float))).ToArray())];
        for (int run = 0; run < 2; run++)
        {
            foreach (var segment in plan.Segments)
            {
                foreach (var step in segment.Steps)
                {
                    foreach (int operand in step.Node.Inputs) Holds(operand, $"{step.Node.Layer} {step.Node.Op.Name} {step.Node.Id} reads {operand}");
                    var read = step.Node.Inputs.Where(i => plan.Places[i].Storage == Storage.Arena && plan.Places[i].Rate == segment.Rate).SelectMany(i => Elements(i)).ToHashSet();
                    var scratch = Enumerable.Range((int)(step.ScratchOffset / sizeof(float)), (int)(step.ScratchBytes / sizeof(float))).ToArray();
                    var result = Elements(step.Node.Id).ToArray();
                    Assert.DoesNotContain(scratch.Concat(result), read.Contains);
                    Assert.Empty(scratch.Intersect(result));
                    foreach (int i in scratch) memory[(int)segment.Rate][i] = Scratch;
                    foreach (int i in result) memory[(int)segment.Rate][i] = step.Node.Id;
                }
            }

            foreach (var (name, id) in plan.Graph.Outputs) Holds(id, $"output {name}");
        }

        // Each element belongs to its writer; those of a concatenation without a step, to the writers of its operands.
        void Holds(int id, string what)
        {
            var place = plan.Places[id];
            if (place.Storage != Storage.Arena) return;
            int[] writers = Writers(id), held = [.. Elements(id).Select(i => memory[(int)place.Rate][i])];
            long width = nodes[id].Type.Shape[-1];
            for (int i = 0; i < held.Length; i++) Assert.True(held[i] == writers[i % width], $"{what}: element {i} was written by {held[i]}");
        }

        int[] Writers(int id)
        {
            while (nodes[id].Op is ReshapeOp) id = nodes[id].Inputs[0];
            bool steps = plan.Segments[(int)nodes[id].Rate].Steps.Any(s => s.Node.Id == id);
            return steps ? [.. Enumerable.Repeat(id, (int)nodes[id].Type.Shape[-1])] : [.. nodes[id].Inputs.SelectMany(Writers)];
        }

        IEnumerable<int> Elements(int id)
        {
            var (place, shape) = (plan.Places[id], nodes[id].Type.Shape);
            int width = (int)shape[-1], pitch = place.Pitch > 0 ? (int)place.Pitch : width, at = (int)(place.Offset / sizeof(float));
            for (int r = 0; r < shape.Count / width; r++)
                for (int c = 0; c < width; c++) yield return at + r * pitch + c;
        }
    }
}
