using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;

namespace DiffusionCore.Tests.Models;

/// <summary>Tiny conditional U-Nets with weights by recipe: the engine against the interpreter in double, and what the plan computes when.</summary>
public class UNet2DConditionTests
{
    private const int Images = 2;
    private const int Tokens = 5;
    private const int Context = 12;

    private const string Base = """
        {"_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
         "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
         "cross_attention_dim": 12, "attention_head_dim": 2}
        """;

    private static string Config(string changes = "") => ConfigText.With(Base, changes);

    private static readonly Dictionary<string, double[]> Given = new() { ["t"] = [417], ["classes"] = [1, 2], ["mask"] = [1, 1, 0, 1, 0, 1, 0, 0, 0, 1] };

    private static RecipeNetwork<UNet2DConditionModel> Build(string config, int height, int width, Func<Graph, UNetConditions, UNetConditions>? more = null) => new(
        config, (w, f) => new UNet2DConditionModel(w, UNet2DConditionConfig.Read(f)), (net, g) =>
        {
            var c = new UNetConditions { Context = g.Input("context", new Shape(Images, Tokens, Context), DType.F32, Rate.Request) };
            var x = g.Input("x", new Shape(Images, height, width, net.Config.InChannels));
            g.Output("y", net.Record(g, x, g.Input("t", new Shape(1)), more is null ? c : more(g, c)));
        });

    [Theory]
    [InlineData("", 8, 8)]
    [InlineData("", 7, 5)]
    [InlineData("\"downsample_padding\": 0", 6, 10)]
    [InlineData("\"use_linear_projection\": true, \"transformer_layers_per_block\": [2, 1], \"attention_head_dim\": [1, 4]", 4, 4)]
    [InlineData("\"only_cross_attention\": [true, false], \"mid_block_only_cross_attention\": true", 4, 4)]
    [InlineData("\"mid_block_type\": \"UNetMidBlock2D\", \"resnet_time_scale_shift\": \"scale_shift\"", 4, 4)]
    [InlineData("\"mid_block_type\": null, \"center_input_sample\": true, \"time_embedding_act_fn\": \"gelu\", \"resnet_skip_time_act\": true", 4, 4)]
    [InlineData("\"encoder_hid_dim\": 12, \"timestep_post_act\": \"silu\", \"conv_in_kernel\": 1, \"conv_out_kernel\": 5", 4, 4)]
    public void The_engine_agrees_with_the_interpreter(string extra, int height, int width)
    {
        using var net = Build(Config(extra), height, width);
        double error = net.Error(Given);
        Assert.True(error < 1e-5, $"{error:E2}");
    }

    [Theory]
    [InlineData("\"num_class_embeds\": 4", 0)]
    [InlineData("\"class_embed_type\": \"timestep\"", 0)]
    [InlineData("\"class_embed_type\": \"identity\"", 32)]
    [InlineData("\"class_embed_type\": \"projection\", \"projection_class_embeddings_input_dim\": 6", 6)]
    [InlineData("\"class_embed_type\": \"simple_projection\", \"projection_class_embeddings_input_dim\": 6, \"class_embeddings_concat\": true", 6)]
    public void Classes_reach_the_time_embedding_in_every_way(string extra, int width)
    {
        using var net = Build(Config(extra), 4, 4, (g, c) => c with
        {
            Classes = width == 0 ? g.Input("classes", new Shape(Images), DType.I64, Rate.Request) : g.Input("vectors", new Shape(Images, width), DType.F32, Rate.Request),
        });
        double error = net.Error(Given);
        Assert.True(error < 1e-5, $"{error:E2}");
    }

    [Fact]
    public void Adapter_features_and_control_residuals_are_added()
    {
        using var net = Build(Config(), 4, 4, (g, c) => c with
        {
            AdapterFeatures = [Map(g, "a0", 4, 8), Map(g, "a1", 2, 16)],
            DownResiduals = [Map(g, "r0", 4, 8), Map(g, "r1", 4, 8), Map(g, "r2", 2, 8), Map(g, "r3", 2, 16)],
            MiddleResidual = Map(g, "m", 2, 16),
        });
        double error = net.Error(Given);
        Assert.True(error < 1e-5, $"{error:E2}");

        static Value Map(Graph g, string name, int side, int channels) => g.Input(name, new Shape(Images, side, side, channels));
    }

    [Fact]
    public void A_guidance_weight_is_embedded_as_latent_consistency_models_take_it()
    {
        var g = new Graph();
        g.Output("y", UNetConditions.RecordGuidance(g, g.Constant([1, 1.001f], new Shape(2)), 8));
        using var device = new CpuDevice(1);
        double[] y = GraphRunner.OnDevice(device, g, new Dictionary<string, double[]>())["y"];
        Assert.Equal([0, 0, 0, 0, 1, 1, 1, 1], y[..8]);                    // no guidance: all angles are zero
        double angle = 1000 * (1.001f - 1f);
        double[] frequencies = [1, Math.Pow(10000, -1 / 3.0), Math.Pow(10000, -2 / 3.0), 1e-4];
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(Math.Sin(angle * frequencies[i]), y[8 + i], 1e-6);
            Assert.Equal(Math.Cos(angle * frequencies[i]), y[12 + i], 1e-6);
        }
    }

    [Fact]
    public void A_masked_token_does_not_matter()
    {
        using var net = Build(Config(), 4, 4, (g, c) => c with { ContextMask = g.Input("mask", new Shape(Images, Tokens), DType.F32, Rate.Request) });
        Assert.True(net.Error(Given) < 1e-5);
        var inputs = new Dictionary<string, double[]>
        {
            ["x"] = RecipeNetwork<UNet2DConditionModel>.Numbers("x", Images * 4 * 4 * 4), ["t"] = [20], ["mask"] = Given["mask"],
            ["context"] = RecipeNetwork<UNet2DConditionModel>.Numbers("context", Images * Tokens * Context),
        };
        using var device = new CpuDevice(1);
        double[] before = GraphRunner.OnDevice(device, net.Graph, inputs)["y"];
        for (int k = 0; k < Context; k++) inputs["context"][2 * Context + k] += 1;        // token 2 of the first image is masked
        Assert.Equal(before, GraphRunner.OnDevice(device, net.Graph, inputs)["y"]);
        for (int k = 0; k < Context; k++) inputs["context"][3 * Context + k] += 1;        // token 3 is not
        Assert.NotEqual(before, GraphRunner.OnDevice(device, net.Graph, inputs)["y"]);
    }

    [Fact]
    public void What_follows_from_the_request_alone_is_computed_once_per_request()
    {
        string extra = "\"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 4, \"projection_class_embeddings_input_dim\": 30, \"time_cond_proj_dim\": 3";
        using var net = Build(Config(extra), 4, 4, (g, c) => c with
        {
            TextEmbeds = g.Input("pooled", new Shape(Images, 6), DType.F32, Rate.Request),
            TimeIds = g.Input("sizes", new Shape(Images, 6), DType.F32, Rate.Request),
            TimeCondition = g.Input("guidance", new Shape(Images, 3), DType.F32, Rate.Request),
        });
        Assert.True(net.Error(Given) < 1e-5);
        using var device = new CpuDevice(1);
        var plan = device.Plan(net.Graph);
        var request = plan.Segments[(int)Rate.Request].Steps.Where(s => s.Node.Op is LinearOp or FusedLinearOp).Select(s => Weight(plan, s)).ToArray();
        var step = plan.Segments[(int)Rate.Step].Steps.Where(s => s.Node.Op is LinearOp or FusedLinearOp).Select(s => Weight(plan, s)).ToArray();
        Assert.All(request, name => Assert.Matches(@"attn2\.to_[kv]|add_embedding|cond_proj", name));
        Assert.All(step, name => Assert.DoesNotMatch(@"attn2\.to_[kv]|add_embedding|cond_proj", name));
        Assert.Equal(2 * 4 + 3, request.Length);
        Assert.Contains(step, name => name.Contains("time_embedding", StringComparison.Ordinal));

        static string Weight(Plan plan, PlanStep step) => ((WeightOp)plan.Graph.Nodes[step.Node.Inputs[1]].Op).Source.Name;
    }

    [Theory]
    [InlineData("\"addition_embed_type\": \"image\"", "addition_embed_type")]
    [InlineData("\"num_attention_heads\": 4", "num_attention_heads")]
    [InlineData("\"dual_cross_attention\": true", "dual_cross_attention")]
    [InlineData("\"attention_type\": \"gated\"", "attention_type")]
    [InlineData("\"time_embedding_type\": \"fourier\"", "time_embedding_type")]
    [InlineData("\"class_embed_type\": \"projection\"", "projection_class_embeddings_input_dim")]
    [InlineData("\"norm_num_groups\": null", "norm_num_groups")]
    [InlineData("\"norm_num_groups\": 3", "norm_num_groups")]
    [InlineData("\"transformer_layers_per_block\": [[1, 1], 1]", "transformer_layers_per_block")]
    [InlineData("\"attention_head_dim\": 3", "attention_head_dim")]
    [InlineData("\"attention_head_dim\": [2, 2, 2]", "attention_head_dim")]
    [InlineData("\"down_block_types\": [\"SimpleCrossAttnDownBlock2D\", \"DownBlock2D\"]", "down_block_types")]
    [InlineData("\"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\"", "mid_block_type")]
    [InlineData("\"only_cross_attention\": [true]", "only_cross_attention")]
    [InlineData("\"cross_attention_norm\": \"layer_norm\"", "cross_attention_norm")]
    public void A_configuration_that_is_another_network_is_refused_by_name(string extra, string field)
    {
        var error = Assert.Throws<ModelFileException>(() => UNet2DConditionConfig.Read(Json.ConfigFile.Parse("config.json", System.Text.Encoding.UTF8.GetBytes(Config(extra)))));
        Assert.Contains(field, error.Message, StringComparison.Ordinal);
    }
}
