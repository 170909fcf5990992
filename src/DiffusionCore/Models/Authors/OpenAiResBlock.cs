using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// The residual block of the U-Nets that descend from openai/guided-diffusion.
/// <code>
/// x --in_layers.0.SiLU--[resample]--in_layers.2--(+ emb_layers.1)--out_layers.0.SiLU--out_layers.3--(+)--> y
/// +--[resample]--[skip_connection]------------------------------------------------------------------+
/// </code>
/// x: [N, H, W, inputs], y: [N, H', W', outputs]. With scale and shift the embedding modulates the second norm instead of being added before it.
/// </summary>
internal sealed class OpenAiResBlock
{
    public const int Groups = 32;
    private const double Epsilon = 1e-5;

    private readonly bool scaleShift;
    private readonly BlockResample resample;
    private readonly int outputs;
    private readonly SpadeNorm normIn;
    private readonly Conv convIn;
    private readonly Linear embedding;
    private readonly SpadeNorm normOut;
    private readonly Conv convOut;
    private readonly Conv? shortcut;

    public OpenAiResBlock(WeightScope w, OpenAiUNetConfig config, int inputs, int outputs, BlockResample resample = BlockResample.None)
    {
        this.resample = resample;
        this.outputs = outputs;
        scaleShift = config.ScaleShift;
        normIn = new(w.At("in_layers.0"), inputs, Groups, Epsilon, config.MapChannels);
        convIn = new(w.At("in_layers.2"), inputs, outputs, 3);
        embedding = new(w.At("emb_layers.1"), config.TimeChannels, scaleShift ? 2 * outputs : outputs);
        normOut = new(w.At("out_layers.0"), outputs, Groups, Epsilon, config.MapChannels);
        convOut = new(w.At("out_layers.3"), outputs, outputs, 3);
        if (inputs != outputs) shortcut = new(w.At("skip_connection"), inputs, outputs, 1);
    }

    /// <param name="activated">SiLU of the embedding, computed once for all blocks.</param>
    public Value Record(Graph g, Value x, Value activated, Value? map)
    {
        var h = Resampled(g, g.Silu(normIn.Record(g, x, map)));
        x = Resampled(g, x);
        h = convIn.Record(g, h);
        var emb = embedding.Record(g, activated);
        emb = g.Reshape(emb, emb.Shape[0], 1, 1, emb.Shape[1]);
        if (scaleShift)
        {
            h = normOut.Record(g, h, map);
            h = g.Plus(g.Times(h, g.Affine(g.Slice(emb, 3, 0, outputs), 1, 1)), g.Slice(emb, 3, outputs, outputs));
        }
        else
        {
            h = normOut.Record(g, g.Plus(h, emb), map);
        }

        return g.Plus(convOut.Record(g, g.Silu(h)), shortcut is null ? x : shortcut.Record(g, x));
    }

    private Value Resampled(Graph g, Value x) => resample switch
    {
        BlockResample.Up => Resampling.Nearest2x(g, x),
        BlockResample.Down => Resampling.Average2x(g, x),
        _ => x,
    };
}
