using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// Frido's U-Net, one for all stages of a feature pyramid (Fan et al. 2022).
/// <code>
/// noisy stage --pre_input_blocks.s--input_blocks--middle_block--output_blocks--out.s--> y
/// coarser stages --pre_input_cond_blocks.(s-1)--> map, which modulates every norm; none at stage 0
/// t --sinusoid--time_embed--(+ stage_emb[s])--> emb
/// </code>
/// noisy: [N, H, W, Stages[s]], y: the same. The coarser stages stay the same while a stage is sampled: with a value of rate Request the modulation
/// is computed once per image.
/// </summary>
public sealed class PyramidUNet : INetwork
{
    private readonly OpenAiUNetConfig config;
    private readonly List<Conv> stems = [];
    private readonly List<Conv> maps = [];
    private readonly WeightRef stageTable;
    private readonly OpenAiEncoder encoder;
    private readonly OpenAiDecoder decoder;
    private readonly List<(Norm Norm, Conv Conv)> heads = [];

    public PyramidUNet(WeightScope w, OpenAiUNetConfig config)
    {
        this.config = config;
        int first = config.Widths[0];
        stageTable = w.Tensor("stage_emb.weight", new Shape(config.Stages.Length, config.TimeChannels));
        encoder = new(w, config, 0, config.ModelChannels);
        decoder = new(w, config, encoder.SkipChannels);
        for (int s = 0; s < config.Stages.Length; s++)
        {
            stems.Add(new(w.At($"pre_input_blocks.{s}.0"), config.Stages[s], config.ModelChannels, 3));
            if (s > 0) maps.Add(new(w.At($"pre_input_cond_blocks.{s - 1}.0"), config.Stages[..s].Sum(), config.ModelChannels, 3));
            heads.Add((new(w.At($"out.{s}.0"), first, OpenAiResBlock.Groups, LayerNorm.UsualEpsilon), new(w.At($"out.{s}.2"), first, config.Stages[s], 3)));
        }
    }

    public OpenAiUNetConfig Config => config;

    /// <summary>Heights and widths must be multiples of this.</summary>
    public int SizeMultiple => 1 << (config.Widths.Length - 1);

    public void Record(NetworkIO io)
    {
        for (int s = 0; s < config.Stages.Length; s++)
        {
            if (!io.Has($"x_stage{s}")) continue;
            int coarser = config.Stages[..s].Sum();
            var x = OpenAiUNet.DeclareImage(io, $"x_stage{s}", coarser + config.Stages[s], SizeMultiple);
            var condition = s == 0 ? (Value?)null : io.Graph.Slice(x, 3, 0, coarser);
            var noisy = s == 0 ? x : io.Graph.Slice(x, 3, coarser, config.Stages[s]);
            var t = io.Times("timesteps", x.Shape[0]);
            var context = OpenAiUNet.DeclareContext(io, config, x.Shape[0]);
            using (io.Graph.Layer($"stage{s}")) io.OutputMap($"stage{s}", Record(io.Graph, s, noisy, condition, t, context));
        }
    }

    /// <param name="x">[N, H, W, Stages[stage]].</param>
    /// <param name="condition">[N, H, W, channels of all coarser stages]; null at stage 0.</param>
    /// <param name="t">[N] or [1].</param>
    /// <param name="context">[N, L, ContextChannels]; null where the network takes none.</param>
    /// <returns>[N, H, W, Stages[stage]].</returns>
    public Value Record(Graph g, int stage, Value x, Value? condition, Value t, Value? context)
    {
        Value? map = null;
        if (stage > 0)
        {
            using (g.Layer("pre_input_cond_blocks")) map = maps[stage - 1].Record(g, condition ?? throw new InvalidOperationException($"stage {stage} needs the coarser stages"));
        }

        var emb = g.Plus(encoder.Embedding(g, t), g.Slice(g.Stored(stageTable), 0, stage, 1));
        var inputs = new OpenAiInputs(g.Silu(g.Expand(emb, emb.Shape.With(0, x.Shape[0]))), context, map);
        Value h;
        using (g.Layer("pre_input_blocks")) h = stems[stage].Record(g, x);
        var skips = new UNetSkips(g, h);
        h = encoder.Record(g, h, inputs, skips);
        h = decoder.Record(g, h, inputs, skips);
        using (g.Layer("out")) return heads[stage].Conv.Record(g, g.Silu(heads[stage].Norm.Record(g, h)));
    }
}
