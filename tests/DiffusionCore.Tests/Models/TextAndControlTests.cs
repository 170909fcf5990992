using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;

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
