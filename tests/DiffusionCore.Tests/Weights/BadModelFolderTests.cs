using System.Text.Json.Nodes;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

/// <summary>Every way in which the JSON of a model folder can be bad: the error names the file and the field.</summary>
public class BadModelFolderTests
{
    private const string Network = """
        {"_class_name":"UNet2DModel","sample_size":8,"in_channels":3,"out_channels":3,"block_out_channels":[8,16],"layers_per_block":1,"norm_num_groups":4,"attention_head_dim":4,
         "down_block_types":["DownBlock2D","AttnDownBlock2D"],"up_block_types":["AttnUpBlock2D","UpBlock2D"]}
        """;

    private const string SkipNetwork = """
        {"_class_name":"UNet2DModel","sample_size":8,"in_channels":3,"out_channels":3,"block_out_channels":[32,64],"layers_per_block":1,"norm_num_groups":4,"attention_head_dim":4,
         "time_embedding_type":"fourier","down_block_types":["SkipDownBlock2D","AttnSkipDownBlock2D"],"up_block_types":["AttnSkipUpBlock2D","SkipUpBlock2D"]}
        """;

    private const string Scheduler = """{"_class_name":"DDPMScheduler","num_train_timesteps":1000,"beta_start":0.0001,"beta_end":0.02,"beta_schedule":"linear","prediction_type":"epsilon"}""";

    [Theory]
    [InlineData("_class_name", "\"UNet3DModel\"", "_class_name", "did you mean 'UNet2DModel'?")]
    [InlineData("_class_name", "\"Transformer\"", "_class_name", "known: UNet2DModel")]
    [InlineData("_class_name", "3", "_class_name", "expected a string, found 3")]
    [InlineData("_class_name", "null", "_class_name", "expected a string, found null")]
    [InlineData("in_channels", "-3", "in_channels", "found -3")]
    [InlineData("in_channels", "0", "in_channels", "found 0")]
    [InlineData("in_channels", "2147483648", "in_channels", "found 2147483648")]
    [InlineData("in_channels", "\"3\"", "in_channels", "found \"3\"")]
    [InlineData("in_channels", "3.0", "in_channels", "found 3.0")]
    [InlineData("out_channels", "[3]", "out_channels", "found [3]")]
    [InlineData("layers_per_block", "0", "layers_per_block", "found 0")]
    [InlineData("layers_per_block", "-1", "layers_per_block", "found -1")]
    [InlineData("layers_per_block", "2147483648", "layers_per_block", "found 2147483648")]
    [InlineData("layers_per_block", "true", "layers_per_block", "found true")]
    [InlineData("block_out_channels", "8", "block_out_channels", "expected an array")]
    [InlineData("block_out_channels", "[]", "block_out_channels", "found 0")]
    [InlineData("block_out_channels", "[8,-16]", "block_out_channels[1]", "found -16")]
    [InlineData("block_out_channels", "[8,0]", "block_out_channels[1]", "found 0")]
    [InlineData("block_out_channels", "[8,2147483648]", "block_out_channels[1]", "found 2147483648")]
    [InlineData("block_out_channels", "[8]", "down_block_types", "expected 1 block types as in block_out_channels, found 2")]
    [InlineData("block_out_channels", "[8,16,16]", "down_block_types", "expected 3 block types")]
    [InlineData("up_block_types", "[\"UpBlock2D\"]", "up_block_types", "expected 2 block types")]
    [InlineData("down_block_types", "[\"DownBlock2D\",\"AttnDownBlok2D\"]", "down_block_types", "did you mean 'AttnDownBlock2D'?")]
    [InlineData("down_block_types", "[\"DownBlock2D\",1]", "down_block_types[1]", "expected a string")]
    [InlineData("attention_head_dim", "3", "attention_head_dim", "3 does not divide 16 channels")]
    [InlineData("attention_head_dim", "0", "attention_head_dim", "found 0")]
    [InlineData("norm_num_groups", "3", "norm_num_groups", "3 groups do not divide 8 channels")]
    [InlineData("norm_num_groups", "0", "norm_num_groups", "found 0")]
    [InlineData("attn_norm_num_groups", "5", "attn_norm_num_groups", "5 groups do not divide 16 channels")]
    [InlineData("norm_eps", "-1e-5", "norm_eps", "found -1e-5")]
    [InlineData("sample_size", "[8,8,8]", "sample_size", "expected 2 numbers, found 3")]
    [InlineData("sample_size", "\"8\"", "sample_size", "found \"8\"")]
    [InlineData("act_fn", "\"sily\"", "act_fn", "did you mean 'silu'?")]
    [InlineData("time_embedding_type", "\"none\"", "time_embedding_type", "'none' is not supported")]
    [InlineData("time_embedding_type", "\"learned\"", "num_train_timesteps", "expected a number")]
    [InlineData("down_block_types", "[\"SkipDownBlock2D\",\"AttnSkipDownBlock2D\"],\"in_channels\":1", "in_channels", "expected 3 with skip blocks, found 1")]
    [InlineData("up_block_types", "[\"AttnSkipUpBlock2D\",\"SkipUpBlock2D\"],\"out_channels\":4", "out_channels", "expected 3 with skip blocks, found 4")]
    [InlineData("freq_shift", "4", "freq_shift", "expected less than 4, half of the first width")]
    [InlineData("class_embed_type", "\"projection\"", "class_embed_type", "'projection' is not supported")]
    [InlineData("center_input_sample", "1", "center_input_sample", "expected true or false")]
    [InlineData("mid_block_type", "\"UNetMidBlock2DCrossAttn\"", "mid_block_type", "is not supported")]
    public void A_bad_field_of_a_network_is_named(string field, string json, string item, string part)
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["model.safetensors"], []);
        folder.Write("config.json", With(Network, field, json));
        var e = Assert.Throws<ModelFileException>(() => Component.Load(folder.Path).Dispose());
        Assert.Equal(folder["config.json"], e.File);
        Assert.Equal(item, e.Item);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("_class_name", "\"DDIMSchedular\"", "did you mean 'DDIMScheduler'?")]
    [InlineData("prediction_type", "\"epsilom\"", "did you mean 'epsilon'?")]
    [InlineData("timestep_spacing", "\"random\"", "known: leading, linspace, trailing")]
    [InlineData("beta_schedule", "\"quadratic\"", "is not supported")]
    [InlineData("num_train_timesteps", "0", "found 0")]
    [InlineData("num_train_timesteps", "-1", "found -1")]
    [InlineData("num_train_timesteps", "1e9", "found 1e9")]
    [InlineData("num_train_timesteps", "1000000000", "found 1000000000")]
    [InlineData("beta_start", "-0.1", "found -0.1")]
    [InlineData("beta_end", "1.5", "found 1.5")]
    [InlineData("beta_end", "1e999", "found 1e999")]
    [InlineData("beta_end", "\"NaN\"", "found \"NaN\"")]
    [InlineData("trained_betas", "[0.1,1.5]", "found 1.5")]
    [InlineData("trained_betas", "[0.1,1e999]", "found 1e999")]
    [InlineData("trained_betas", "[0.1,0.2]", "expected 1000 numbers")]
    [InlineData("clip_sample", "\"yes\"", "expected true or false")]
    [InlineData("steps_offset", "-1", "found -1")]
    public void A_bad_field_of_a_scheduler_is_named(string field, string json, string part)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("scheduler_config.json", With(Scheduler, field, json));
        var e = Assert.Throws<ModelFileException>(() => SchedulerConfig.Read(ConfigFile.Load(path)));
        Assert.Equal(path, e.File);
        Assert.StartsWith(field, e.Item, StringComparison.Ordinal);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_beta_that_is_no_number_is_not_JSON()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("scheduler_config.json", Scheduler.Replace("0.02", "NaN", StringComparison.Ordinal));
        Assert.Contains("is not valid JSON", Assert.Throws<ModelFileException>(() => ConfigFile.Load(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_a_folder_lacks_is_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("no such", Message(() => Component.Load(folder["unet"])), StringComparison.Ordinal);
        Directory.CreateDirectory(folder["unet"]);
        Assert.Contains("has no config.json", Message(() => Component.Load(folder["unet"])), StringComparison.Ordinal);
        folder.Write("unet/config.json", Network);
        Assert.Contains("has no weights", Message(() => Component.Load(folder["unet"])), StringComparison.Ordinal);
        SafetensorsWriter.Write(folder["unet/model.safetensors"], []);
        Assert.Contains("is missing, with", Message(() => Component.Load(folder["unet"])), StringComparison.Ordinal);

        Assert.Contains("neither model_index.json nor config.json", Message(() => ModelFolder.Load(folder.Path)), StringComparison.Ordinal);
        folder.Write("model_index.json", """{"_class_name":"DDPMPipeline","scheduler":["diffusers","DDPMScheduler"],"unet":["diffusers","UNet2DModel"]}""");
        Assert.Contains("scheduler: there is no such component folder", Message(() => ModelFolder.Load(folder.Path)), StringComparison.Ordinal);
        Directory.CreateDirectory(folder["scheduler"]);
        Assert.Contains("has no scheduler_config.json", Message(() => ModelFolder.Load(folder.Path)), StringComparison.Ordinal);
        folder.Write("scheduler/scheduler_config.json", Scheduler[..30]);
        Assert.Contains("is not valid JSON", Message(() => ModelFolder.Load(folder.Path)), StringComparison.Ordinal);
        folder.Write("model_index.json", """{"_class_name":"FluxPipeline"}""");
        Assert.Contains("_class_name: 'FluxPipeline' is not supported", Message(() => ModelFolder.Load(folder.Path)), StringComparison.Ordinal);

        static string Message(Func<IDisposable> load) => Assert.Throws<ModelFileException>(() => load().Dispose()).Message;
    }

    [Fact]
    public void A_component_that_is_a_link_out_of_the_model_is_refused()
    {
        using var outside = new TemporaryFolder();
        using var folder = new TemporaryFolder();
        outside.Write("config.json", Network);
        folder.Write("model_index.json", """{"_class_name":"DDPMPipeline","scheduler":["diffusers","DDPMScheduler"],"unet":["diffusers","UNet2DModel"]}""");
        folder.Write("scheduler/scheduler_config.json", Scheduler);
        Directory.CreateSymbolicLink(folder["unet"], outside.Path);
        var e = Assert.Throws<ModelFileException>(() => ModelFolder.Load(folder.Path).Dispose());
        Assert.Equal("unet", e.Item);
        Assert.Contains("outside the model", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_tensor_of_another_shape_is_named_with_both()
    {
        using var folder = new TemporaryFolder();
        folder.Write("config.json", Network);
        SafetensorsWriter.Write(folder["model.safetensors"], [new("conv_in.weight", StorageType.F32, [8, 1, 3, 3], new byte[8 * 9 * 4])]);
        var e = Assert.Throws<ModelFileException>(() => Component.Load(folder.Path).Dispose());
        Assert.Equal($"{folder["model.safetensors"]}: unet.conv_in.weight: expected [8, 3, 3, 3], file has [8, 1, 3, 3]", e.Message);
    }

    /// <summary>Values that are odd but of the right type, two at a time: the network is built and recorded, or the error is a named one.</summary>
    [Theory]
    [InlineData(Network)]
    [InlineData(SkipNetwork)]
    public void Any_two_odd_fields_give_a_network_or_the_named_error(string baseJson)
    {
        (string Field, string Json)[] odd =
        [
            ("in_channels", "1"), ("in_channels", "65536"), ("out_channels", "1"), ("block_out_channels", "[1,1]"), ("block_out_channels", "[2,6]"), ("block_out_channels", "[4,12]"), ("block_out_channels", "[65536,65536]"),
            ("layers_per_block", "3"), ("norm_num_groups", "1"), ("norm_num_groups", "2"), ("attention_head_dim", "1"), ("attention_head_dim", "null"), ("attention_head_dim", "6"), ("attn_norm_num_groups", "1"),
            ("attn_norm_num_groups", "7"), ("freq_shift", "1"), ("freq_shift", "3.5"), ("time_embedding_dim", "1"), ("time_embedding_dim", "7"), ("time_embedding_type", "\"fourier\""), ("time_embedding_type", "\"learned\""),
            ("num_train_timesteps", "1"), ("class_embed_type", "\"timestep\""), ("class_embed_type", "\"identity\""), ("num_class_embeds", "1"), ("mid_block_type", "null"), ("mid_block_scale_factor", "1e-6"),
            ("add_attention", "false"), ("resnet_time_scale_shift", "\"scale_shift\""), ("downsample_type", "\"resnet\""), ("upsample_type", "\"resnet\""), ("downsample_padding", "0"), ("norm_eps", "0"), ("sample_size", "null"),
            ("down_block_types", "[\"SkipDownBlock2D\",\"AttnSkipDownBlock2D\"]"), ("down_block_types", "[\"ResnetDownsampleBlock2D\",\"DownBlock2D\"]"), ("up_block_types", "[\"AttnSkipUpBlock2D\",\"SkipUpBlock2D\"]"),
            ("up_block_types", "[\"ResnetUpsampleBlock2D\",\"UpBlock2D\"]"),
        ];
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["model.safetensors"], []);
        using var checkpoint = Checkpoint.Open(folder["model.safetensors"]);
        int built = 0;
        var failures = new SortedSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < odd.Length; i++)
        {
            for (int j = i; j < odd.Length; j++)
            {
                string json = With(With(baseJson, odd[i].Field, odd[i].Json), odd[j].Field, odd[j].Json);
                try
                {
                    var config = UNet2DConfig.Read(ConfigFile.Parse("config.json", System.Text.Encoding.UTF8.GetBytes(json)));
                    var network = new UNet2DModel(WeightScope.Of(checkpoint, "unet"), config);
                    var g = new Graph();
                    var x = g.Input("sample", new Shape(2, 4, 4, config.InChannels), DType.F32);
                    var t = g.Input("timestep", new Shape(1), config.TimeEmbedding == TimeEmbeddingKind.Learned ? DType.I64 : DType.F32);
                    Value? classes = config.ClassEmbedding switch
                    {
                        ClassEmbeddingKind.None => null,
                        ClassEmbeddingKind.Identity => g.Input("class_labels", new Shape(2, config.TimeEmbeddingDim ?? 4 * config.BlockOutChannels[0]), DType.F32),
                        ClassEmbeddingKind.Table => g.Input("class_labels", new Shape(2), DType.I64),
                        _ => g.Input("class_labels", new Shape(2), DType.F32),
                    };
                    Assert.Equal(new Shape(2, 4, 4, config.OutChannels), network.Record(g, x, t, classes).Shape);
                    built++;
                }
                catch (ModelFileException)
                {
                }
                catch (Exception e)
                {
                    failures.Add($"{odd[i]} {odd[j]}: {e.GetType().Name}: {e.Message}");
                }
            }
        }

        Assert.True(failures.Count == 0, string.Join("\n", failures));
        Assert.True(built > 200, $"{built} were built");
    }

    private static string With(string json, string field, string value)
    {
        // As text, because a value may be a number that no parser of the test would keep as it is.
        var node = JsonNode.Parse(json)!.AsObject();
        node.Remove(field);
        foreach (string other in new[] { "in_channels", "out_channels" })
            if (value.Contains($"\"{other}\":", StringComparison.Ordinal)) node.Remove(other);
        string rest = node.ToJsonString();
        return rest[..^1] + $",\"{field}\":{value}}}";
    }

    [Theory]
    [InlineData("{\"a\": 1, \"a\": 1}", "a")]
    [InlineData("{\"a\": 1, \"\\u0061\": 2}", "a")]
    [InlineData("{\"o\": {\"x\": 1}, \"p\": [{\"y\": 1, \"y\": 2}]}", "y")]
    public void A_field_given_twice_is_refused(string json, string field)
    {
        var e = Assert.Throws<ModelFileException>(() => DiffusionCore.Json.ConfigFile.Parse("config.json", System.Text.Encoding.UTF8.GetBytes(json)));
        Assert.Contains($"{field}: is given twice", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Equal_fields_of_different_objects_are_not_twice() =>
        Assert.True(DiffusionCore.Json.ConfigFile.Parse("config.json", "{\"a\": {\"x\": 1}, \"b\": {\"x\": 1}, \"x\": 2}"u8.ToArray()).Has("x"));
}
