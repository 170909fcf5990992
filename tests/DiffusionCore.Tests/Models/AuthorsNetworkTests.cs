using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Runtime;

namespace DiffusionCore.Tests.Models;

/// <summary>Tiny networks of the authors' own programs, weights by recipe: the engine against the interpreter in double, in the variants that no golden model has.</summary>
public class AuthorsNetworkTests
{
    private const double Bound = 1e-5;
    private static readonly Dictionary<string, double[]> Given = new() { ["t"] = [417, 3], ["sigma"] = [0.3, 9], ["noise"] = [-1.2, 0.9], ["classes"] = [1, 2] };

    private static Value Image(Graph g, int channels, string name = "x", int side = 4) => g.Input(name, new Shape(2, side, side, channels));

    private static Value Numbers(Graph g, string name) => g.Input(name, new Shape(2));

    private static void Check<T>(RecipeNetwork<T> network)
    {
        using (network)
        {
            double error = network.Error(Given);
            Assert.True(error < Bound, $"{error:E2}");
        }
    }

    [Theory]
    [InlineData("\"num_heads\": 2, \"num_heads_upsample\": 4, \"use_new_attention_order\": true")]
    [InlineData("\"num_head_channels\": 8, \"use_scale_shift_norm\": true, \"conv_resample\": false, \"num_classes\": 3")]
    [InlineData("\"resblock_updown\": true, \"channel_mult\": [2, 1]")]
    public void Guided_diffusion(string extra) => Check(new RecipeNetwork<OpenAiUNet>(
        ConfigText.With("""{"image_size": 4, "in_channels": 3, "out_channels": 6, "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 2]}""", extra),
        (w, f) => new OpenAiUNet(w, OpenAiUNetConfig.ReadGuided(f), "out"),
        (net, g) => g.Output("y", net.Record(g, Image(g, 3), Numbers(g, "t"), null, net.Config.Classes > 0 ? g.Input("classes", new Shape(2), DType.I64, Rate.Request) : null))));

    [Fact]
    public void Latent_diffusion_with_a_context() => Check(new RecipeNetwork<OpenAiUNet>(
        """{"image_size": 4, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": 2, "attention_resolutions": [1], "channel_mult": [1, 1], "num_head_channels": 16, "use_spatial_transformer": true, "transformer_depth": 2, "context_dim": 12}""",
        (w, f) => new OpenAiUNet(w, OpenAiUNetConfig.ReadLatent(f), "eps"),
        (net, g) => g.Output("y", net.Record(g, Image(g, 4), Numbers(g, "t"), g.Input("context", new Shape(2, 3, 12), DType.F32, Rate.Request)))));

    [Theory]
    [InlineData("adaptive")]
    [InlineData("attention")]
    public void A_noisy_classifier(string pool) => Check(new RecipeNetwork<OpenAiClassifier>(
        $$"""{"image_size": 4, "in_channels": 3, "out_channels": 10, "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 2], "num_head_channels": 16, "pool": "{{pool}}"}""",
        (w, f) => new OpenAiClassifier(w, OpenAiUNetConfig.ReadClassifier(f)),
        (net, g) => g.Output("y", net.Record(g, Image(g, 3), Numbers(g, "t")))));

    [Fact]
    public void A_consistency_model_leaves_the_image_alone_at_the_smallest_level()
    {
        using var net = new RecipeNetwork<ConsistencyModel>(
            """{"image_size": 4, "in_channels": 3, "out_channels": 3, "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 1], "num_head_channels": 16}""",
            (w, f) => new ConsistencyModel(w, OpenAiUNetConfig.ReadConsistency(f)),
            (net, g) =>
            {
                var (x, sigma) = (Image(g, 3), Numbers(g, "sigma"));
                g.Output("edm", net.Record(g, x, sigma, null, boundary: false));
                g.Output("consistency", net.Record(g, x, sigma, null, boundary: true));
            });
        Assert.True(net.Error(Given) < Bound);
        var inputs = new Dictionary<string, double[]> { ["x"] = RecipeNetwork<ConsistencyModel>.Numbers("x", 96), ["sigma"] = [0.002, 0.002] };
        using var device = new CpuDevice(1);
        var y = GraphRunner.OnDevice(device, net.Graph, inputs);
        Assert.True(GraphRunner.RelativeError(inputs["x"], y["consistency"]) < 1e-6);
        Assert.True(GraphRunner.RelativeError(inputs["x"], y["edm"]) > 1e-4);
    }

    private static RecipeNetwork<PyramidUNet> Pyramid() => new(
        """{"use_split_head": true, "use_SPADE_norm": true, "use_spatial_transformer": true, "num_stage": 2, "split_embed_dim_list": [2, 3], "image_size": 4, "in_channels": 5, "out_channels": 5, "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 1], "num_head_channels": 8, "context_dim": 12}""",
        (w, f) => new PyramidUNet(w, OpenAiUNetConfig.ReadPyramid(f)),
        (net, g) =>
        {
            var context = g.Input("context", new Shape(2, 3, 12), DType.F32, Rate.Request);
            var (coarse, t) = (g.Input("coarse", new Shape(2, 4, 4, 2), DType.F32, Rate.Request), Numbers(g, "t"));
            using (g.Layer("stage0")) g.Output("y0", net.Record(g, 0, Image(g, 2, "x0"), null, t, context));
            using (g.Layer("stage1")) g.Output("y1", net.Record(g, 1, Image(g, 3, "x1"), coarse, t, context));
        });

    [Fact]
    public void A_pyramid() => Check(Pyramid());

    [Fact]
    public void What_modulates_a_pyramid_is_computed_once_per_image()
    {
        using var net = Pyramid();
        using var device = new CpuDevice(1);
        var plan = device.Plan(net.Graph);
        string[] request = Weights(plan, Rate.Request), step = Weights(plan, Rate.Step);
        Assert.Contains(request, n => n.Contains("mlp_gamma", StringComparison.Ordinal));
        Assert.DoesNotContain(step, n => n.Contains("mlp_", StringComparison.Ordinal) || n.Contains("pre_input_cond", StringComparison.Ordinal) || n.Contains("attn2.to_k", StringComparison.Ordinal));

        static string[] Weights(Plan plan, Rate rate) =>
            [.. plan.Segments[(int)rate].Steps.SelectMany(s => s.Node.Inputs).Select(i => plan.Graph.Nodes[i].Op).OfType<WeightOp>().Select(w => w.Source.Name)];
    }

    [Theory]
    [InlineData("\"model_type\": \"SongUNet\", \"encoder_type\": \"skip\", \"decoder_type\": \"skip\", \"resample_filter\": [1, 3, 3, 1], \"embedding_type\": \"fourier\", \"channel_mult_noise\": 2")]
    [InlineData("\"model_type\": \"SongUNet\", \"encoder_type\": \"residual\", \"resample_filter\": [1, 1]")]
    [InlineData("\"model_type\": \"DhariwalUNet\"")]
    public void Edm(string extra) => Check(new RecipeNetwork<EdmPrecond>(
        $$"""{"img_resolution": 4, "img_channels": 3, "label_dim": 5, "augment_dim": 2, "model_channels": 16, "channel_mult": [1, 4], "num_blocks": 1, "attn_resolutions": [2], {{extra}}}""",
        (w, f) => new EdmPrecond(w, EdmConfig.Read(f, learnedVariance: false)),
        (net, g) =>
        {
            var (x, sigma) = (Image(g, 3), Numbers(g, "sigma"));
            var labels = g.Input("labels", new Shape(2, 5), DType.F32, Rate.Request);
            g.Output("f", net.Network.Record(g, x, Numbers(g, "noise"), labels, g.Input("augment", new Shape(2, 2), DType.F32, Rate.Request)));
            g.Output("d", net.Record(g, x, sigma, labels));
            g.Output("ve", net.Record(g, x, sigma, null, EdmPreconditioning.VarianceExploding));
        }));

    [Theory]
    [InlineData("EDMPrecond", EdmPreconditioning.Edm)]
    [InlineData("VPPrecond", EdmPreconditioning.VariancePreserving)]
    [InlineData("VEPrecond", EdmPreconditioning.VarianceExploding)]
    public void The_class_of_an_edm_network_says_how_it_was_trained(string name, EdmPreconditioning own)
    {
        using var net = new RecipeNetwork<EdmPrecond>(
            $$"""{"_class_name": "{{name}}", "img_resolution": 4, "img_channels": 3, "model_type": "DhariwalUNet", "model_channels": 16, "channel_mult": [1, 1], "num_blocks": 1, "attn_resolutions": []}""",
            (w, f) => new EdmPrecond(w, EdmConfig.Read(f, learnedVariance: false)),
            (net, g) =>
            {
                var (x, sigma) = (Image(g, 3), Numbers(g, "sigma"));
                g.Output("own", net.Record(g, x, sigma, null));
                foreach (var kind in Enum.GetValues<EdmPreconditioning>()) g.Output($"{kind}", net.Record(g, x, sigma, null, kind));
            });
        var inputs = new Dictionary<string, double[]> { ["x"] = RecipeNetwork<EdmPrecond>.Numbers("x", 96), ["sigma"] = Given["sigma"] };
        using var device = new CpuDevice(1);
        var y = GraphRunner.OnDevice(device, net.Graph, inputs);
        foreach (var kind in Enum.GetValues<EdmPreconditioning>()) Assert.Equal(kind == own, y["own"].SequenceEqual(y[$"{kind}"]));
        Assert.True(net.Error(Given) < Bound);
    }

    [Fact]
    public void Edm_for_discrete_steps() => Check(new RecipeNetwork<IddpmPrecond>(
        """{"img_resolution": 4, "img_channels": 3, "model_type": "DhariwalUNet", "model_channels": 16, "channel_mult": [1, 1], "num_blocks": 1, "attn_resolutions": [], "M": 20}""",
        (w, f) => new IddpmPrecond(w, EdmConfig.Read(f, learnedVariance: true)),
        (net, g) => g.Output("d", net.Record(g, Image(g, 3), Numbers(g, "sigma"), null))));

    [Theory]
    [InlineData("\"label_dim\": 0, \"clip_act\": 0.5")]
    [InlineData("\"label_dim\": 5, \"channel_mult_noise\": 1, \"channel_mult_emb\": 2, \"res_balance\": 0.5, \"attn_balance\": 0.4, \"resample_filter\": [1, 3, 3, 1]")]
    public void Edm2(string extra) => Check(new RecipeNetwork<Edm2Precond>(
        $$"""{"img_resolution": 4, "img_channels": 3, "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [2], "channels_per_head": 8, {{extra}}}""",
        (w, f) => new Edm2Precond(w, Edm2Config.Read(f)),
        (net, g) =>
        {
            var sigma = Numbers(g, "sigma");
            g.Output("d", net.Record(g, Image(g, 3), sigma, net.Config.LabelChannels > 0 ? g.Input("labels", new Shape(2, 5), DType.F32, Rate.Request) : null));
            g.Output("logvar", net.RecordLogVariance(g, sigma));
        }));

    [Theory]
    [InlineData("\"progressive_input\": \"input_skip\", \"progressive_combine\": \"cat\", \"fir\": true, \"embedding_type\": \"fourier\", \"skip_rescale\": false")]
    [InlineData("\"progressive_input\": \"residual\", \"progressive\": \"output_skip\", \"fir\": false, \"embedding_type\": \"positional\", \"scale_by_sigma\": true, \"num_scales\": 500")]
    [InlineData("\"conditional\": false, \"embedding_type\": \"positional\", \"fir\": true, \"fir_kernel\": [1, 1]")]
    public void Score_networks(string extra) => Check(new RecipeNetwork<ScoreUNet>(
        $$$$"""{"config": {"data": {"image_size": 4, "num_channels": 3, "centered": true}, "model": {"nf": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [2], {{{{extra}}}}}}}""",
        (w, f) => new ScoreUNet(w, ScoreConfig.Read(f)),
        (net, g) => g.Output("y", net.Record(g, Image(g, 3), Numbers(g, "t")))));
}
