using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>What a text encoder gives: hidden states (0: the embeddings, k: after k layers, without the last norm), the normalised last state, the vector of the whole text, and its projection.</summary>
public sealed record ClipTextOutputs(IReadOnlyList<Value> HiddenStates, Value LastHiddenState, Value Pooled, Value? TextEmbeds)
{
    /// <summary>The state that SD 2.x and SDXL read: after all layers but one.</summary>
    public Value Penultimate => HiddenStates[^2];
}

/// <summary>
/// CLIP's text tower (Radford et al. 2021): CLIP-L with quick GELU, OpenCLIP with GELU.
/// <code>
/// ids --token + position--[layer_norm1.attention (causal)--(+)--layer_norm2.fc1.act.fc2--(+)] x Layers--final_layer_norm--> y
///                                                                                              y at the end of text--text_projection--> embeds
/// </code>
/// ids: [N, T], y: [N, T, Channels]. Weight names follow transformers, with or without text_model in front.
/// </summary>
public sealed class ClipTextModel : INetwork
{
    private readonly ClipTextConfig config;
    private readonly WeightRef tokens;
    private readonly WeightRef positions;
    private readonly List<Layer> layers = [];
    private readonly LayerNorm finalNorm;
    private readonly Linear? projection;

    public ClipTextModel(WeightScope w, ClipTextConfig config)
    {
        this.config = config;
        var tower = w.Has("embeddings.token_embedding.weight") ? w : w.At("text_model");
        tokens = tower.Tensor("embeddings.token_embedding.weight", new Shape(config.Vocabulary, config.Channels));
        positions = tower.Tensor("embeddings.position_embedding.weight", new Shape(config.Positions, config.Channels));
        tower.Ignore("embeddings.position_ids");
        for (int i = 0; i < config.Layers; i++) layers.Add(new(tower.At($"encoder.layers.{i}"), config));
        finalNorm = new(tower.At("final_layer_norm"), config.Channels, config.Epsilon);
        if (config.ProjectionChannels is { } width) projection = new(w.At("text_projection"), config.Channels, width, bias: false);
    }

    public ClipTextConfig Config => config;

    public void Record(NetworkIO io)
    {
        if (io.Has("attention_mask")) throw io.Problem("attention_mask", "is given, but a mask of padding is not supported: diffusion models attend to all tokens before");
        var ids = io.Input("input_ids", 2, Rate.Request);
        if (ids.Shape[1] < 1 || ids.Shape[1] > config.Positions) throw io.Problem("input_ids", $"expected 1 to {config.Positions} tokens per text, found {ids.Shape[1]}");
        if (ids.DType.IsFloat()) throw io.Problem("input_ids", $"expected whole numbers, found {ids.DType}");
        var y = Record(io.Graph, ids);
        for (int i = 0; i < y.HiddenStates.Count; i++) io.Output($"hidden_states.{i}", y.HiddenStates[i]);
        io.Output("last_hidden_state", y.LastHiddenState);
        io.Output("pooler_output", y.Pooled);
        if (y.TextEmbeds is { } embeds) io.Output("text_embeds", embeds);
    }

    /// <param name="ids">[N, T] whole numbers, T at most Positions.</param>
    public ClipTextOutputs Record(Graph g, Value ids)
    {
        long count = ids.Shape[1];
        Value h;
        using (g.Layer("embeddings"))
        {
            var at = g.Stored(positions);
            if (count < config.Positions) at = g.Slice(at, 0, 0, count);
            h = g.Plus(g.Embedding(ids, g.Weight(tokens)), at);
        }

        var states = new List<Value> { h };
        for (int i = 0; i < layers.Count; i++)
        {
            using (g.Layer($"encoder.layers.{i}")) states.Add(h = layers[i].Record(g, h));
        }

        using (g.Layer("final_layer_norm")) h = finalNorm.Record(g, h);
        var pooled = g.Add(new PickTokenOp(config.EndOfText ?? -1), h, ids);
        if (projection is null) return new(states, h, pooled, null);
        using (g.Layer("text_projection")) return new(states, h, pooled, projection.Record(g, pooled));
    }

    /// <summary>The last norm behind the state of an earlier layer, as readers of such states want it.</summary>
    public Value Normalised(Graph g, Value state)
    {
        using (g.Layer("final_layer_norm")) return finalNorm.Record(g, state);
    }

    private sealed class Layer(WeightScope w, ClipTextConfig config)
    {
        private readonly LayerNorm norm1 = new(w.At("layer_norm1"), config.Channels, config.Epsilon);
        private readonly Linear query = new(w.At("self_attn.q_proj"), config.Channels, config.Channels);
        private readonly Linear key = new(w.At("self_attn.k_proj"), config.Channels, config.Channels);
        private readonly Linear value = new(w.At("self_attn.v_proj"), config.Channels, config.Channels);
        private readonly Linear output = new(w.At("self_attn.out_proj"), config.Channels, config.Channels);
        private readonly LayerNorm norm2 = new(w.At("layer_norm2"), config.Channels, config.Epsilon);
        private readonly Linear up = new(w.At("mlp.fc1"), config.Channels, config.HiddenChannels);
        private readonly Linear down = new(w.At("mlp.fc2"), config.HiddenChannels, config.Channels);

        public Value Record(Graph g, Value x)
        {
            var h = norm1.Record(g, x);
            var y = g.Attention(query.Record(g, h), key.Record(g, h), value.Record(g, h), config.Heads, 1 / Math.Sqrt(config.Channels / config.Heads), causal: true);
            x = g.Plus(output.Record(g, y), x);
            return g.Plus(down.Record(g, g.Unary(config.Activation, up.Record(g, norm2.Record(g, x)))), x);
        }
    }
}
