using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>The fields of the configuration of a BERTEmbedder, or of an LDMBertModel as diffusers calls it, checked.</summary>
/// <param name="Heads">Attention heads, each of HeadDim channels; together they need not be as wide as the model.</param>
/// <param name="Authors">Whether the weights have the authors' names, rather than those of diffusers' folders.</param>
public sealed record BertConfig(int Channels, int HiddenChannels, int Heads, int HeadDim, int Layers, int Vocabulary, int Positions, bool Authors)
{
    private const int MaximumChannels = 1 << 16;

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, or out of range.</exception>
    public static BertConfig Read(ConfigFile f)
    {
        int channels = f.GetInt("n_embed", null, 1, MaximumChannels);
        return new(channels, 4 * channels, 8, 64, f.GetInt("n_layer", null, 1, 1024), f.GetInt("vocab_size", 30522, 1, 1 << 24), f.GetInt("max_seq_len", 77, 1, 1 << 20), Authors: true);
    }

    /// <inheritdoc cref="Read"/>
    public static BertConfig ReadFolder(ConfigFile f)
    {
        f.GetWord("activation_function", "gelu", "gelu");
        return new(
            f.GetInt("d_model", 1280, 1, MaximumChannels), f.GetInt("encoder_ffn_dim", 5120, 1, 1 << 20), f.GetInt("encoder_attention_heads", 8, 1, 1024), f.GetInt("head_dim", 64, 1, 4096),
            f.GetInt("encoder_layers", 32, 1, 1024), f.GetInt("vocab_size", 30522, 1, 1 << 24), f.GetInt("max_position_embeddings", 77, 1, 1 << 20), Authors: false);
    }
}

/// <summary>
/// The text encoder of the first latent diffusion models (Rombach et al. 2022), trained with them. No mask: padding is attended to.
/// <code>
/// ids --token + position--[norm.attention--(+)--norm.feed forward--(+)] x Layers--norm--> y
/// </code>
/// ids: [N, T], y: [N, T, Channels]. Weight names follow the authors' x_transformer, or diffusers' LDMBertModel.
/// </summary>
public sealed class BertEmbedder : INetwork
{
    private readonly BertConfig config;
    private readonly WeightRef tokens;
    private readonly WeightRef positions;
    private readonly List<Layer> layers = [];
    private readonly LayerNorm norm;

    public BertEmbedder(WeightScope w, BertConfig config)
    {
        this.config = config;
        int channels = config.Channels;
        w.Ignore(config.Authors ? "transformer.to_logits.weight" : "to_logits.weight");
        w.Ignore(config.Authors ? "transformer.to_logits.bias" : "to_logits.bias");
        w = w.At(config.Authors ? "transformer" : "model");
        tokens = w.Tensor(config.Authors ? "token_emb.weight" : "embed_tokens.weight", new Shape(config.Vocabulary, channels));
        positions = w.Tensor(config.Authors ? "pos_emb.emb.weight" : "embed_positions.weight", new Shape(config.Positions, channels));
        for (int i = 0; i < config.Layers; i++) layers.Add(config.Authors ? AuthorsLayer(w, i, config) : FolderLayer(w.At($"layers.{i}"), config));
        norm = new(w.At(config.Authors ? "norm" : "layer_norm"), channels);
    }

    public BertConfig Config => config;

    public void Record(NetworkIO io)
    {
        string name = config.Authors ? "tokens" : "input_ids";
        var ids = io.Input(name, 2, Rate.Request);
        if (ids.Shape[1] < 1 || ids.Shape[1] > config.Positions) throw io.Problem(name, $"expected 1 to {config.Positions} tokens per text, found {ids.Shape[1]}");
        if (ids.DType.IsFloat()) throw io.Problem(name, $"expected whole numbers, found {ids.DType}");
        io.Output(config.Authors ? "context" : "last_hidden_state", Record(io.Graph, ids));
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
    private static Layer AuthorsLayer(WeightScope w, int i, BertConfig config)
    {
        WeightScope attention = w.At($"attn_layers.layers.{2 * i}"), forward = w.At($"attn_layers.layers.{2 * i + 1}"), block = attention.At("1"), net = forward.At("1.net");
        return new(config, attention.At("0"), block.At("to_q"), block.At("to_k"), block.At("to_v"), block.At("to_out"), forward.At("0"), net.At("0.0"), net.At("2"));
    }

    private static Layer FolderLayer(WeightScope w, BertConfig config)
    {
        var attention = w.At("self_attn");
        return new(
            config, w.At("self_attn_layer_norm"), attention.At("q_proj"), attention.At("k_proj"), attention.At("v_proj"), attention.At("out_proj"), w.At("final_layer_norm"), w.At("fc1"), w.At("fc2"));
    }

    private sealed class Layer(
        BertConfig config, WeightScope norm1, WeightScope query, WeightScope key, WeightScope value, WeightScope output, WeightScope norm2, WeightScope up, WeightScope down)
    {
        private readonly LayerNorm norm1 = new(norm1, config.Channels);
        private readonly Linear query = new(query, config.Channels, config.Heads * config.HeadDim, bias: false);
        private readonly Linear key = new(key, config.Channels, config.Heads * config.HeadDim, bias: false);
        private readonly Linear value = new(value, config.Channels, config.Heads * config.HeadDim, bias: false);
        private readonly Linear output = new(output, config.Heads * config.HeadDim, config.Channels);
        private readonly LayerNorm norm2 = new(norm2, config.Channels);
        private readonly Linear up = new(up, config.Channels, config.HiddenChannels);
        private readonly Linear down = new(down, config.HiddenChannels, config.Channels);

        public Value Record(Graph g, Value x)
        {
            var h = norm1.Record(g, x);
            var y = g.Attention(query.Record(g, h), key.Record(g, h), value.Record(g, h), config.Heads, 1 / Math.Sqrt(config.HeadDim));
            x = g.Plus(output.Record(g, y), x);
            return g.Plus(down.Record(g, g.Unary(Unary.Gelu, up.Record(g, norm2.Record(g, x)))), x);
        }
    }
}
