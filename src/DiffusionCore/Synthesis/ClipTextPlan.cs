using System.Text.Json;
using DiffusionCore.Json;

namespace DiffusionCore.Synthesis;

/// <summary>A CLIP text encoder by its sizes; names and shapes are those of transformers.</summary>
/// <param name="Activation">quick_gelu (ViT-L) or gelu (OpenCLIP).</param>
/// <param name="Projection">Width of the projected text; only <paramref name="Projected"/> encoders have the matrix.</param>
public sealed record ClipTextPlan(int Width, int Layers, int Heads, int Inner, string Activation, int Projection, bool Projected, int Vocabulary)
{
    private const float PositionDeviation = 0.3f;

    public int Positions { get; init; } = Text.ClipTokenizer.DefaultLength;

    public string Class => Projected ? "CLIPTextModelWithProjection" : "CLIPTextModel";

    public void Config(Utf8JsonWriter w)
    {
        w.WriteStrings("architectures", [Class]);
        w.WriteString("model_type", "clip_text_model");
        w.WriteNumber("vocab_size", Vocabulary);
        w.WriteNumber("hidden_size", Width);
        w.WriteNumber("intermediate_size", Inner);
        w.WriteNumber("num_hidden_layers", Layers);
        w.WriteNumber("num_attention_heads", Heads);
        w.WriteNumber("max_position_embeddings", Positions);
        w.WriteString("hidden_act", Activation);
        w.WriteNumber("layer_norm_eps", 1e-5);
        w.WriteNumber("projection_dim", Projection);
        w.WriteNumber("bos_token_id", Vocabulary - 2);
        w.WriteNumber("eos_token_id", Vocabulary - 1);
        w.WriteNumber("pad_token_id", Vocabulary - 1);
    }

    public IReadOnlyList<TensorPlan> Tensors()
    {
        var b = new LayoutBuilder();
        b.Table("text_model.embeddings.token_embedding", Vocabulary, Width, 1);
        b.Table("text_model.embeddings.position_embedding", Positions, Width, PositionDeviation);
        for (int i = 0; i < Layers; i++)
        {
            string name = $"text_model.encoder.layers.{i}";
            b.Norm(name + ".layer_norm1", Width);
            foreach (string part in new[] { "q_proj", "k_proj", "v_proj" }) b.Linear($"{name}.self_attn.{part}", Width, Width);
            b.Linear(name + ".self_attn.out_proj", Width, Width, LayoutBuilder.Branch);
            b.Norm(name + ".layer_norm2", Width);
            b.Linear(name + ".mlp.fc1", Inner, Width);
            b.Linear(name + ".mlp.fc2", Width, Inner, LayoutBuilder.Branch);
        }

        b.Norm("text_model.final_layer_norm", Width);
        if (Projected) b.Linear("text_projection", Projection, Width, bias: false);
        return b.Tensors;
    }
}
