using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The U-Net of guided diffusion (Dhariwal and Nichol 2021) and, with spatial transformers, of CompVis' latent diffusion (Rombach et al. 2022), by the
/// authors' own names.
/// <code>
/// x --input_blocks.0.0--input_blocks--middle_block--output_blocks--out.0.SiLU--out.2--> y
/// </code>
/// x: [N, H, W, InChannels], y: [N, H, W, OutChannels]; H and W are multiples of SizeMultiple.
/// </summary>
public sealed class OpenAiUNet : INetwork
{
    private readonly OpenAiUNetConfig config;
    private readonly string output;
    private readonly Conv convIn;
    private readonly OpenAiEncoder encoder;
    private readonly WeightRef? labels;
    private readonly OpenAiDecoder decoder;
    private readonly Norm normOut;
    private readonly Conv convOut;

    /// <param name="output">What the result is called where the network is evaluated by itself.</param>
    public OpenAiUNet(WeightScope w, OpenAiUNetConfig config, string output)
    {
        this.config = config;
        this.output = output;
        convIn = new(w.At("input_blocks.0.0"), config.InChannels, config.Widths[0], 3);
        encoder = new(w, config, 1, config.Widths[0]);
        if (config.Classes > 0) labels = w.Tensor("label_emb.weight", new Shape(config.Classes, config.TimeChannels));
        decoder = new(w, config, encoder.SkipChannels);
        normOut = new(w.At("out.0"), config.Widths[0], OpenAiResBlock.Groups, LayerNorm.UsualEpsilon);
        convOut = new(w.At("out.2"), config.Widths[0], config.OutChannels, 3);
    }

    public OpenAiUNetConfig Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.Widths.Length - 1);

    public void Record(NetworkIO io)
    {
        var x = DeclareImage(io, "x", config.InChannels, SizeMultiple);
        if (labels is null && io.Has("y")) throw io.Problem("y", "is given, but this network takes no classes");
        var classes = labels is null ? (Value?)null : io.Input("y", 1, Rate.Request);
        if (classes is { } y && y.Shape[0] != x.Shape[0]) throw io.Problem("y", $"expected [{x.Shape[0]}], found {y.Shape}");
        io.OutputMap(output, Record(io.Graph, x, io.Times("timesteps", x.Shape[0]), DeclareContext(io, config, x.Shape[0]), classes));
    }

    /// <param name="x">[N, H, W, InChannels].</param>
    /// <param name="t">[N] or [1].</param>
    /// <param name="context">[N, L, ContextChannels]; null where the network takes none.</param>
    /// <param name="classes">[N] class numbers; null where the network takes none.</param>
    /// <returns>[N, H, W, OutChannels].</returns>
    public Value Record(Graph g, Value x, Value t, Value? context = null, Value? classes = null)
    {
        var emb = encoder.Embedding(g, t);
        if (labels is not null) emb = g.Plus(emb, g.Embedding(classes ?? throw new InvalidOperationException("this network needs classes"), g.Weight(labels)));
        var inputs = new OpenAiInputs(g.Silu(g.Expand(emb, emb.Shape.With(0, x.Shape[0]))), context, null);
        Value h;
        using (g.Layer("input_blocks.0")) h = convIn.Record(g, x);
        var skips = new UNetSkips(g, h);
        h = encoder.Record(g, h, inputs, skips);
        h = decoder.Record(g, h, inputs, skips);
        using (g.Layer("out")) return convOut.Record(g, g.Silu(normOut.Record(g, h)));
    }

    internal static Value DeclareImage(NetworkIO io, string name, int channels, int multiple)
    {
        var x = io.Map(name, channels);
        return x.Shape.Count > 0 && x.Shape[1] % multiple == 0 && x.Shape[2] % multiple == 0
            ? x
            : throw io.Problem(name, $"expected height and width in multiples of {multiple}, found {x.Shape[1]} and {x.Shape[2]}");
    }

    internal static Value? DeclareContext(NetworkIO io, OpenAiUNetConfig config, long images)
    {
        if (config.ContextChannels is not { } width) return io.Has("context") ? throw io.Problem("context", "is given, but this network takes no context") : null;
        var context = io.Input("context", 3, Rate.Request);
        return context.Shape[0] == images && context.Shape[2] == width ? context : throw io.Problem("context", $"expected [{images}, tokens, {width}], found {context.Shape}");
    }
}
