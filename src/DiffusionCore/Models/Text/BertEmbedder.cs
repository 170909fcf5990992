using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The fields of a BERTEmbedder's configuration, checked.</summary>
public sealed record BertConfig(int Channels, int Layers, int Vocabulary, int Positions)
{
    /// <exception cref="ModelFileException">A field is missing, of the wrong type, or out of range.</exception>
    public static BertConfig Read(ConfigFile f) => new(
        f.GetInt("n_embed", null, 1, 1 << 16), f.GetInt("n_layer", null, 1, 1024), f.GetInt("vocab_size", 30522, 1, 1 << 24), f.GetInt("max_seq_len", 77, 1, 1 << 20));
}

/// <summary>
/// The text encoder of the first latent diffusion models (Rombach et al. 2022), trained with them. No mask: padding is attended to.
/// <code>
/// ids --token + position--[norm.attention--(+)--norm.feed forward--(+)] x Layers--norm--> y
/// </code>
/// ids: [N, T], y: [N, T, Channels]. Weight names follow the authors' x_transformer.
/// </summary>
public sealed class BertEmbedder : INetwork
{
    private const int Heads = 8;
    private const int HeadDim = 64;
    private const int Expansion = 4;

    private readonly BertConfig config;
    private readonly WeightRef tokens;
    private readonly WeightRef positions;
    private readonly List<Layer> layers = [];
    private readonly LayerNorm norm;

    public BertEmbedder(WeightScope w, BertConfig config)
    {
        this.config = config;
        w = w.At("transformer");
        tokens = w.Tensor("token_emb.weight", new Shape(config.Vocabulary, config.Channels));
        positions = w.Tensor("pos_emb.emb.weight", new Shape(config.Positions, config.Channels));
        for (int i = 0; i < config.Layers; i++) layers.Add(new(w.At($"attn_layers.layers.{2 * i}"), w.At($"attn_layers.layers.{2 * i + 1}"), config.Channels));
        norm = new(w.At("norm"), config.Channels);
        w.Ignore("to_logits.weight");
        w.Ignore("to_logits.bias");
    }

    public BertConfig Config => config;

    public void Record(NetworkIO io)
    {
        var ids = io.Input("tokens", 2, Rate.Request);
        if (ids.Shape[1] < 1 || ids.Shape[1] > config.Positions) throw io.Problem("tokens", $"expected 1 to {config.Positions} tokens per text, found {ids.Shape[1]}");
        if (ids.DType.IsFloat()) throw io.Problem("tokens", $"expected whole numbers, found {ids.DType}");
        io.Output("context", Record(io.Graph, ids));
    }

    /// <param name="ids">[N, T] whole numbers, T at most Positions.</param>
    /// <returns>[N, T, Channels].</returns>
    public Value Record(Graph g, Value ids)
    {
        var at = g.Stored(positions);
        if (ids.Shape[1] < config.Positions) at = g.Slice(at, 0, 0, ids.Shape[1]);
        var h = g.Plus(g.Embedding(ids, g.Weight(tokens)), at);
        for (int i = 0; i < layers.Count; i++)
        {
            using (g.Layer($"layers.{i}")) h = layers[i].Record(g, h);
        }

        using (g.Layer("norm")) return norm.Record(g, h);
    }

    // Each layer is a norm (0) and a block (1); the third entry of the authors' list, the residual, holds nothing.
    private sealed class Layer(WeightScope attention, WeightScope forward, int channels)
    {
        private readonly LayerNorm norm1 = new(attention.At("0"), channels);
        private readonly Linear query = new(attention.At("1.to_q"), channels, Heads * HeadDim, bias: false);
        private readonly Linear key = new(attention.At("1.to_k"), channels, Heads * HeadDim, bias: false);
        private readonly Linear value = new(attention.At("1.to_v"), channels, Heads * HeadDim, bias: false);
        private readonly Linear output = new(attention.At("1.to_out"), Heads * HeadDim, channels);
        private readonly LayerNorm norm2 = new(forward.At("0"), channels);
        private readonly Linear up = new(forward.At("1.net.0.0"), channels, Expansion * channels);
        private readonly Linear down = new(forward.At("1.net.2"), Expansion * channels, channels);

        public Value Record(Graph g, Value x)
        {
            var h = norm1.Record(g, x);
            x = g.Plus(output.Record(g, g.Attention(query.Record(g, h), key.Record(g, h), value.Record(g, h), Heads, 1 / Math.Sqrt(HeadDim))), x);
            return g.Plus(down.Record(g, g.Unary(Unary.Gelu, up.Record(g, norm2.Record(g, x)))), x);
        }
    }
}
