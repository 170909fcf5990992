using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>Inputs and weights that do not fit a network: the error names the tensor, what was expected and what was found.</summary>
public class NetworkInputTests
{
    private const string Config = """
        {"_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
         "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "cross_attention_dim": 12, "attention_head_dim": 2,
         "addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 30}
        """;

    private static readonly (string Name, long[] Dims)[] Fitting =
    [
        ("sample", [2, 4, 4, 4]), ("timestep", [2]), ("encoder_hidden_states", [2, 5, 12]), ("added_text_embeds", [2, 6]), ("added_time_ids", [2, 6]),
    ];

    private static TensorData Tensor(string name, long[] dims) => new(name, StorageType.F32, dims, new byte[4 * dims.Aggregate(1L, (p, d) => p * d)]);

    private static string Folder(TemporaryFolder folder, Func<TensorData, TensorData?>? change = null)
    {
        var file = Json.ConfigFile.Load(folder.Write("unet/config.json", Config));
        folder.Write("empty/model.safetensors", SafetensorsWriter.ToArray([]));
        using var empty = Checkpoint.Open(folder["empty"]);
        var draft = new Graph();
        var net = new UNet2DConditionModel(WeightScope.Of(empty, "net"), UNet2DConditionConfig.Read(file));
        draft.Output("y", net.Record(draft, draft.Input("x", new Shape(1, 4, 4, 4)), draft.Input("t", new Shape(1)), new UNetConditions
        {
            Context = draft.Input("c", new Shape(1, 5, 12)), TextEmbeds = draft.Input("p", new Shape(1, 6)), TimeIds = draft.Input("i", new Shape(1, 6)),
        }));
        var tensors = draft.Nodes.Select(n => n.Op).OfType<WeightOp>().Select(w => Tensor(w.Source.Name["net.".Length..], w.Source.Type.Shape.ToArray()));
        if (change is not null) tensors = tensors.Select(change).OfType<TensorData>();
        folder.Write("unet/diffusion_pytorch_model.safetensors", SafetensorsWriter.ToArray(tensors));
        return folder["unet"];
    }

    private static string Message(params (string Name, long[]? Dims)[] changes)
    {
        using var folder = new TemporaryFolder();
        using var component = Component.Load(Folder(folder));
        var inputs = Fitting.Where(f => !changes.Any(c => c.Name == f.Name)).Concat(changes.Where(c => c.Dims is not null).Select(c => (c.Name, c.Dims!)));
        folder.Write("in.safetensors", SafetensorsWriter.ToArray(inputs.Select(i => Tensor("in." + i.Name, i.Item2))));
        using var tensors = Checkpoint.Open(folder["in.safetensors"]);
        using var device = new CpuDevice(1);
        return Assert.Throws<ModelFileException>(() => Component.Run(component, tensors, device)).Message;
    }

    [Theory]
    [InlineData("sample", new long[] { 2, 3, 4, 4 }, "expected 4 channels")]
    [InlineData("sample", new long[] { 2, 4, 4 }, "expected rank 4, found [2, 4, 4]")]
    [InlineData("timestep", new long[] { 3 }, "expected 1 or 2 times")]
    [InlineData("encoder_hidden_states", new long[] { 2, 5, 11 }, "expected [2, tokens, 12], found [2, 5, 11]")]
    [InlineData("encoder_attention_mask", new long[] { 2, 4 }, "expected [2, 5], found [2, 4]")]
    [InlineData("added_text_embeds", null, "is missing")]
    [InlineData("added_time_ids", new long[] { 1, 6 }, "expected [2, width], found [1, 6]")]
    [InlineData("class_labels", new long[] { 2 }, "does not take it")]
    [InlineData("timestep_cond", new long[] { 2, 8 }, "does not take it")]
    [InlineData("mid_res", new long[] { 2, 16, 2, 2 }, "in.down_res0: is missing")]
    public void An_input_that_does_not_fit_is_named(string name, long[]? dims, string problem)
    {
        string message = Message((name, dims));
        Assert.Contains(problem, message, StringComparison.Ordinal);
        if (name != "mid_res") Assert.Contains("in." + name, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sizes_that_do_not_fill_the_added_embedding_are_refused()
    {
        string message = Message(("added_time_ids", [2, 5]));
        Assert.Contains("added_time_ids", message, StringComparison.Ordinal);
        Assert.Contains("30", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_residual_of_the_wrong_size_is_named()
    {
        string message = Message(("down_res0", [2, 8, 4, 4]), ("down_res1", [2, 8, 4, 4]), ("down_res2", [2, 8, 2, 2]), ("down_res3", [2, 16, 4, 4]), ("mid_res", [2, 16, 2, 2]));
        Assert.Contains("in.down_res3: expected [2, 16, 2, 2], found [2, 16, 4, 4]", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_weight_of_another_shape_is_named_with_both()
    {
        using var folder = new TemporaryFolder();
        string path = Folder(folder, t => t.Name == "mid_block.attentions.0.proj_in.weight" ? Tensor(t.Name, [16, 15]) : t);
        string message = Assert.Throws<ModelFileException>(() => Component.Load(path)).Message;
        Assert.Contains("unet.mid_block.attentions.0.proj_in.weight: expected [16, 16], file has [16, 15]", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_weights_are_counted_and_named()
    {
        using var folder = new TemporaryFolder();
        string path = Folder(folder, t => t.Name.StartsWith("add_embedding", StringComparison.Ordinal) ? null : t);
        string message = Assert.Throws<ModelFileException>(() => Component.Load(path)).Message;
        Assert.Contains("unet.add_embedding.linear_1.weight", message, StringComparison.Ordinal);
        Assert.Contains("4 of ", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_class_that_is_not_known_is_refused_with_the_nearest()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a/config.json", """{"_class_name": "UNet2DConditionalModel"}""");
        folder.Write("b/config.json", """{"architectures": ["CLIPTextModle"]}""");
        Assert.Contains("UNet2DConditionModel", Assert.Throws<ModelFileException>(() => Component.Load(folder["a"])).Message, StringComparison.Ordinal);
        string message = Assert.Throws<ModelFileException>(() => Component.Load(folder["b"])).Message;
        Assert.Contains("architectures", message, StringComparison.Ordinal);
        Assert.Contains("CLIPTextModel", message, StringComparison.Ordinal);
    }
}
