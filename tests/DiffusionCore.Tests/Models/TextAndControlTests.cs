using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>Tiny text encoders, transformers and control networks, weights by recipe: the engine against the interpreter in double.</summary>
public class TextAndControlTests
{
    private const double Bound = 1e-5;
    private static readonly Dictionary<string, double[]> Given = new() { ["t"] = [417], ["ids"] = [3, 1, 7, 9, 9, 4, 9, 2, 2, 2], ["classes"] = [1, 3] };

    private static void Check<T>(RecipeNetwork<T> network)
    {
        using (network)
        {
            double error = network.Error(Given);
            Assert.True(error < Bound, $"{error:E2}");
        }
    }

    private static Value Ids(Graph g) => g.Input("ids", new Shape(2, 5), DType.I64, Rate.Request);

    [Theory]
    [InlineData("gelu", 9)]
    [InlineData("quick_gelu", 2)]
    public void Clip(string activation, int end) => Check(new RecipeNetwork<ClipTextModel>(
        $$"""{"architectures": ["CLIPTextModelWithProjection"], "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "num_hidden_layers": 2, "max_position_embeddings": 7, "vocab_size": 10, "projection_dim": 11, "hidden_act": "{{activation}}", "eos_token_id": {{end}}}""",
        (w, f) => new ClipTextModel(w, ClipTextConfig.Read(f)),
        (net, g) =>
        {
            var y = net.Record(g, Ids(g));
            g.Output("last", y.LastHiddenState);
            g.Output("penultimate", y.Penultimate);
            g.Output("pooled", y.Pooled);
            g.Output("embeds", y.TextEmbeds!.Value);
        }));

    [Fact]
    public void Bert() => Check(new RecipeNetwork<BertEmbedder>(
        """{"n_embed": 16, "n_layer": 1, "vocab_size": 10, "max_seq_len": 5}""", (w, f) => new BertEmbedder(w, BertConfig.Read(f)), (net, g) => g.Output("y", net.Record(g, Ids(g)))));

    [Fact]
    public void Bert_by_the_names_of_a_folder_is_the_same_network()
    {
        string[][] names =
        [
            ["transformer.token_emb", "model.embed_tokens"], ["transformer.pos_emb.emb", "model.embed_positions"], ["transformer.norm", "model.layer_norm"], ["transformer.to_logits", "to_logits"],
            ["transformer.attn_layers.layers.0.0", "model.layers.0.self_attn_layer_norm"], ["transformer.attn_layers.layers.0.1.to_q", "model.layers.0.self_attn.q_proj"],
            ["transformer.attn_layers.layers.0.1.to_k", "model.layers.0.self_attn.k_proj"], ["transformer.attn_layers.layers.0.1.to_v", "model.layers.0.self_attn.v_proj"],
            ["transformer.attn_layers.layers.0.1.to_out", "model.layers.0.self_attn.out_proj"], ["transformer.attn_layers.layers.1.0", "model.layers.0.final_layer_norm"],
            ["transformer.attn_layers.layers.1.1.net.0.0", "model.layers.0.fc1"], ["transformer.attn_layers.layers.1.1.net.2", "model.layers.0.fc2"],
        ];
        using var folder = new TemporaryFolder();
        folder.Write("a/config.json", """{"_class_name": "BERTEmbedder", "n_embed": 16, "n_layer": 1, "vocab_size": 10, "max_seq_len": 5}""");
        folder.Write("b/config.json", """{"architectures": ["LDMBertModel"], "d_model": 16, "encoder_layers": 1, "encoder_ffn_dim": 64, "vocab_size": 10, "max_position_embeddings": 5}""");
        foreach (int side in (int[])[0, 1])
        {
            var tensors = new List<TensorData>();
            foreach (string[] pair in names)
            {
                foreach (var (suffix, dims) in Tensors(pair[0]))
                {
                    float[] values = GoldenModel.Recipe(pair[0] + suffix, dims);
                    tensors.Add(new TensorData(pair[side] + suffix, StorageType.F32, dims, MemoryMarshal.AsBytes(values.AsSpan()).ToArray()));
                }
            }

            folder.Write(side == 0 ? "a/model.safetensors" : "b/model.safetensors", SafetensorsWriter.ToArray(tensors));
        }

        byte[] ids = MemoryMarshal.AsBytes(((long[])[3, 1, 7, 9, 9]).AsSpan()).ToArray();
        folder.Write("in.safetensors", SafetensorsWriter.ToArray([new TensorData("in.tokens", StorageType.I64, [1, 5], ids), new TensorData("in.input_ids", StorageType.I64, [1, 5], ids)]));
        using var inputs = Checkpoint.Open(folder["in.safetensors"]);
        using var device = new CpuDevice(1);
        using Component authors = Component.Load(folder["a"]), diffusers = Component.Load(folder["b"]);
        Assert.Empty(authors.Account.Unused);
        Assert.Empty(diffusers.Account.Unused);
        TensorData one = Assert.Single(Component.Run(authors, inputs, device)), other = Assert.Single(Component.Run(diffusers, inputs, device));
        Assert.Equal(["out.context", "out.last_hidden_state"], [one.Name, other.Name]);
        Assert.Equal(one.Data.ToArray(), other.Data.ToArray());

        static (string Suffix, long[] Dims)[] Tensors(string name) => name[(name.LastIndexOf('.') + 1)..] switch
        {
            "token_emb" => [(".weight", [10, 16])],
            "emb" => [(".weight", [5, 16])],
            "to_logits" => [(".weight", [10, 16]), (".bias", [10])],
            "to_q" or "to_k" or "to_v" => [(".weight", [512, 16])],
            "to_out" => [(".weight", [16, 512]), (".bias", [16])],
            "2" => [(".weight", [16, 64]), (".bias", [16])],
            _ => name.EndsWith("net.0.0", StringComparison.Ordinal) ? [(".weight", [64, 16]), (".bias", [64])] : [(".weight", [16]), (".bias", [16])],
        };
    }

    [Theory]
    [InlineData("gelu-approximate", 4, 4)]
    [InlineData("geglu", 6, 2)]
    public void A_diffusion_transformer(string activation, int height, int width) => Check(new RecipeNetwork<DiTTransformer2DModel>(
        $$"""{"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "num_layers": 2, "sample_size": 4, "patch_size": 2, "num_embeds_ada_norm": 3, "activation_fn": "{{activation}}"}""",
        (w, f) => new DiTTransformer2DModel(w, DiTConfig.Read(f)),
        (net, g) => g.Output("y", net.Record(g, g.Input("x", new Shape(2, height, width, 4)), g.Input("t", new Shape(1)), g.Input("classes", new Shape(2), DType.I64, Rate.Request)))));

    [Theory]
    [InlineData("rgb", false)]
    [InlineData("bgr", true)]
    public void A_control_network(string order, bool pool) => Check(Control(order, pool));

    [Fact]
    public void A_hint_is_embedded_once_per_request()
    {
        using var net = Control("rgb", false);
        using var device = new CpuDevice(1);
        var plan = device.Plan(net.Graph);
        Assert.Equal(6, plan.Segments[(int)Rate.Request].Steps.Count(s => s.Node.Op is Conv2dOp or FusedConv2dOp));
        Assert.DoesNotContain(plan.Segments[(int)Rate.Step].Steps, s => s.Node.Layer.Contains("controlnet_cond_embedding", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("full_adapter", 6)]
    [InlineData("full_adapter_xl", 10)]
    public void An_adapter(string type, int side) => Check(new RecipeNetwork<T2IAdapter>(
        $$"""{"in_channels": 3, "channels": [4, 6, 8], "num_res_blocks": 1, "downscale_factor": 2, "adapter_type": "{{type}}"}""",
        (w, f) => new T2IAdapter(w, T2IAdapterConfig.Read(f)),
        (net, g) =>
        {
            var maps = net.Record(g, g.Input("x", new Shape(1, side, side, 3), DType.F32, Rate.Request));
            for (int i = 0; i < maps.Count; i++) g.Output($"y{i}", maps[i]);
        }));

    private static RecipeNetwork<ControlNetModel> Control(string order, bool pool) => new(
        $$"""{"in_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "cross_attention_dim": 12, "attention_head_dim": 2, "conditioning_embedding_out_channels": [4, 6, 8], "controlnet_conditioning_channel_order": "{{order}}", "global_pool_conditions": {{(pool ? "true" : "false")}}}""",
        (w, f) => new ControlNetModel(w, ControlNetConfig.Read(f)),
        (net, g) =>
        {
            var context = new UNetConditions { Context = g.Input("context", new Shape(2, 3, 12), DType.F32, Rate.Request) };
            var hint = g.Input("hint", new Shape(2, 16, 16, 3), DType.F32, Rate.Request);
            var (down, middle) = net.Record(g, g.Input("x", new Shape(2, 4, 4, 4)), g.Input("t", new Shape(1)), context, hint, g.Input("scale", new Shape(1)));
            for (int i = 0; i < down.Count; i++) g.Output($"down{i}", down[i]);
            g.Output("middle", middle);
        });
}
