using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;
using DiffusionCore.Tests.Runtime;

namespace DiffusionCore.Tests.Guidance;

/// <summary>Perturbed layers: the rows before see no change, those behind read their own tokens or miss a block.</summary>
public sealed class PerturbPassTests
{
    private const int Rows = 3, Tokens = 5, Channels = 8, Heads = 2;

    private static readonly double[] X = GraphRunner.Numbers(Rows * Tokens * Channels, 1);

    [Fact]
    public void Perturbed_attention_gives_a_token_its_own_value()
    {
        // With the identity for a map, attention of x with itself is x: doubled by the sum behind it.
        var (plain, perturbed) = Both(Perturbation.Attention, 2, ["transformer_blocks.1"]);
        const int Row = Tokens * Channels;
        Assert.Equal(plain[..(2 * Row)], perturbed[..(2 * Row)]);
        double[] block0 = Run(Network(1), X), own = Array.ConvertAll(block0, v => v + v);
        Assert.Equal(own[(2 * Row)..], perturbed[(2 * Row)..]);
        Assert.NotEqual(plain[(2 * Row)..], perturbed[(2 * Row)..]);
    }

    [Fact]
    public void A_skipped_block_gives_what_it_reads()
    {
        var (plain, perturbed) = Both(Perturbation.Skip, 1, ["1"]);
        const int Row = Tokens * Channels;
        Assert.Equal(plain[..Row], perturbed[..Row]);
        Assert.Equal(Run(Network(1), X)[Row..], perturbed[Row..]);
    }

    [Fact]
    public void Without_a_name_the_middle_is_taken()
    {
        var three = Network(3);
        double[] named = Run(PerturbPass.Run(three, Perturbation.Attention, 2, ["transformer_blocks.1"]), X), middle = Run(PerturbPass.Run(three, Perturbation.Attention, 2, []), X);
        Assert.Equal(named, middle);
        Assert.NotEqual(Run(three, X), middle);
    }

    [Theory]
    [InlineData(Perturbation.Attention, "nowhere", "pag layers: 'nowhere' has no self-attention; this network has it in transformer_blocks.0.attn1, transformer_blocks.1.attn1")]
    [InlineData(Perturbation.Skip, "9", "slg layers: there is no layer 'transformer_blocks.9'; blocks that can be left out are transformer_blocks.0, transformer_blocks.1")]
    [InlineData(Perturbation.Skip, "widen", "slg layers: 'widen' changes the shape of what it reads")]
    public void Layers_that_are_not_there_are_refused(Perturbation kind, string layer, string problem) =>
        Assert.Contains(problem, Assert.Throws<UsageException>(() => PerturbPass.Run(Network(2), kind, 2, [layer])).Message, StringComparison.Ordinal);

    private static (double[] Plain, double[] Perturbed) Both(Perturbation kind, int firstRow, string[] layers)
    {
        var graph = Network(2);
        return (Run(graph, X), Run(PerturbPass.Run(graph, kind, firstRow, layers), X));
    }

    private static double[] Run(Graph graph, double[] x)
    {
        using var device = new CpuDevice(1);
        return GraphRunner.OnDevice(device, graph, new Dictionary<string, double[]> { ["x"] = x })["y"];
    }

    // x + attention(x, x, x), some times; a wider result beside it.
    private static Graph Network(int blocks)
    {
        var g = new Graph();
        var h = g.Input("x", new Shape(Rows, Tokens, Channels));
        for (int i = 0; i < blocks; i++)
        {
            using (g.Layer($"transformer_blocks.{i}"))
            using (g.Layer("attn1")) h = g.Plus(g.Attention(h, h, h, Heads, 0.5), h);
        }

        using (g.Layer("widen")) g.Output("wide", g.Concat(2, h, h));
        g.Output("y", h);
        return g;
    }
}
