using System.Globalization;
using System.Text;
using DiffusionCore.Json;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Synthesis;
using DiffusionCore.Weights;
using DiffusionCore.Weights.SingleFile;

namespace DiffusionCore.Tests.Weights.SingleFile;

/// <summary>A tiny model in both layouts: every tensor and every size must be the same.</summary>
public sealed class SingleFileTests
{
    [Theory]
    [InlineData("sd-tiny", SingleFileKind.Sd1)]
    [InlineData("sd2-tiny", SingleFileKind.Sd2)]
    [InlineData("sdxl-tiny", SingleFileKind.Sdxl)]
    public void Both_layouts_give_the_same_tensors(string preset, SingleFileKind kind)
    {
        using var folder = new TemporaryFolder();
        SynthModel.Write(SynthPreset.Find(preset), folder["m"], 9, StorageType.F16);
        WriteSingle(folder["m"], folder["one.safetensors"], preset);
        using var model = SingleFileModel.Open(folder["one.safetensors"]);
        Assert.Equal(kind, model.Kind);
        Assert.Empty(model.Unused);
        Assert.Equal(SynthPreset.Find(preset).Components.Select(c => (c.Folder, c.Class)), model.Components.Select(c => (c.Name, c.Class)));
        foreach (var c in model.Components)
        {
            using var expected = Checkpoint.Open(Path.Combine(folder["m"], c.Name));
            Assert.Equal(expected.Names.Order(StringComparer.Ordinal), c.Weights.Names.Order(StringComparer.Ordinal));
            foreach (string name in expected.Names)
            {
                Assert.True(expected.TryGet(name, out var e) & c.Weights.TryGet(name, out var f));
                Assert.Equal($"{name} {string.Join(",", e.Dims)}", $"{name} {string.Join(",", f.Dims)}");
                byte[] a = new byte[e.Bytes], b = new byte[f.Bytes];
                expected.Read(name, a);
                c.Weights.Read(name, b);
                Assert.True(a.AsSpan().SequenceEqual(b), name);
            }
        }
    }

    [Theory]
    [InlineData("sd-tiny")]
    [InlineData("sd2-tiny")]
    [InlineData("sdxl-tiny")]
    public void The_configurations_implied_are_the_folders(string preset)
    {
        using var folder = new TemporaryFolder();
        SynthModel.Write(SynthPreset.Find(preset), folder["m"], 9, StorageType.F16);
        WriteSingle(folder["m"], folder["one.safetensors"], preset);
        using var model = SingleFileModel.Open(folder["one.safetensors"]);
        Assert.Equal(
            Flat(UNet2DConditionConfig.Read(ConfigFile.Load(Path.Combine(folder["m"], "unet", "config.json"))) with { SampleHeight = null, SampleWidth = null }),
            Flat(UNet2DConditionConfig.Read(model.Get("unet").Config) with { SampleHeight = null, SampleWidth = null }));
        var expected = AutoencoderKLConfig.Read(ConfigFile.Load(Path.Combine(folder["m"], "vae", "config.json")));
        var found = AutoencoderKLConfig.Read(model.Get("vae").Config);
        Assert.Equal((expected.EmbedChannels, expected.Base.ScalingFactor, Flat(expected.Base.Layout)), (found.EmbedChannels, found.Base.ScalingFactor, Flat(found.Base.Layout)));
        foreach (var text in model.Components.Where(c => c.Name.StartsWith("text_encoder", StringComparison.Ordinal)))
        {
            var config = ConfigFile.Load(Path.Combine(folder["m"], text.Name, "config.json"));
            foreach (string field in new[] { "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "projection_dim" })
                if (field != "projection_dim" || text.Class == "CLIPTextModelWithProjection") Assert.Equal((field, config.GetInt(field, null)), (field, text.Config.GetInt(field, null)));
            Assert.Equal(config.GetString("hidden_act", null), text.Config.GetString("hidden_act", null));
            Assert.Equal(text.Class, text.Config.ClassName);
        }
    }

    [Theory]
    [InlineData("", "", null)]
    [InlineData("modelspec.prediction_type=v", "", "v_prediction")]
    [InlineData("modelspec.prediction_type=epsilon", "v_pred", "epsilon")]
    [InlineData("", "v_pred", "v_prediction")]
    [InlineData("", "global_step=875000", "epsilon")]
    [InlineData("", "global_step=140000", "v_prediction")]
    public void What_an_sd2_file_predicts_is_told_by_its_marks(string metadata, string tensor, string? expected)
    {
        using var folder = new TemporaryFolder();
        string path = Sd2(folder, metadata, tensor);
        using var model = SingleFileModel.Open(path);
        Assert.Equal(expected, model.Prediction.Type);
        Assert.Empty(model.Unused);
        if (expected is null)
        {
            Assert.Contains("prediction_type: is unknown", Assert.Throws<ModelFileException>(() => model.Scheduler()).Message, StringComparison.Ordinal);
            Assert.Equal("v_prediction", model.Scheduler("v_prediction").GetString("prediction_type", null));
        }
        else
        {
            Assert.Equal(expected, model.Scheduler().GetString("prediction_type", null));
            SchedulerConfig.Read(model.Scheduler());
        }
    }

    [Theory]
    [InlineData("model:\n  params:\n    parameterization: \"v\"\n", "v_prediction")]
    [InlineData("model:\n  params:\n    # parameterization: v\n", "epsilon")]
    public void Settings_beside_the_file_tell_too(string yaml, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = Sd2(folder, "", "");
        folder.Write("one.yaml", yaml);
        using var model = SingleFileModel.Open(path);
        Assert.Equal(expected, model.Prediction.Type);
    }

    [Fact]
    public void A_mark_of_zero_signal_changes_the_schedule()
    {
        using var folder = new TemporaryFolder();
        using var model = SingleFileModel.Open(Sd2(folder, "", "v_pred", "ztsnr"));
        Assert.True(model.Scheduler().GetBool("rescale_betas_zero_snr", false));
    }

    [Theory]
    [InlineData("control_model.time_embed.0.weight", "[4,4]", "of the kind ControlNet")]
    [InlineData("joint_blocks.0.context_block.adaLN_modulation.1.bias", "[9216]", "of the kind Sd3")]
    [InlineData("model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale", "[128]", "of the kind Flux")]
    [InlineData("something.else", "[2]", "is no single-file model that is known here")]
    [InlineData("model.diffusion_model.input_blocks.0.0.weight", "[32,4,3,3]", "unknown family")]
    public void Other_files_are_named(string tensor, string shape, string expected)
    {
        using var folder = new TemporaryFolder();
        long[] dims = [.. shape.Trim('[', ']').Split(',').Select(d => long.Parse(d, CultureInfo.InvariantCulture))];
        SafetensorsWriter.Write(folder["x.safetensors"], [new TensorData(tensor, StorageType.F16, dims, new byte[2 * dims.Aggregate(1L, (a, d) => a * d)])]);
        Assert.Contains(expected, Assert.Throws<ModelFileException>(() => SingleFileModel.Open(folder["x.safetensors"])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(9, SingleFileKind.Sd1Inpaint)]
    [InlineData(8, SingleFileKind.InstructPix2Pix)]
    [InlineData(7, null)]
    public void Input_channels_tell_inpainting_and_editing(int channels, SingleFileKind? kind)
    {
        using var folder = new TemporaryFolder();
        string path = WithUNet(folder, t => t.Name.EndsWith("input_blocks.0.0.weight", StringComparison.Ordinal) ? t with { Dims = [32, channels, 3, 3], Data = new byte[2 * 32 * channels * 9] } : t);
        if (kind is null)
        {
            Assert.Contains("found 7", Assert.Throws<ModelFileException>(() => SingleFileModel.Open(path)).Message, StringComparison.Ordinal);
            return;
        }

        using var model = SingleFileModel.Open(path);
        Assert.Equal(kind, model.Kind);
        Assert.Equal(channels, model.Get("unet").Config.GetInt("in_channels", null));
    }

    [Theory]
    [InlineData("out.2.weight", "out.3.weight", "is not a name of the authors' U-Net")]
    [InlineData("middle_block.1.proj_in.weight", "middle_block.1.projin.weight", "proj_in.weight: is missing")]
    public void Names_that_are_none_are_errors(string from, string to, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = WithUNet(folder, t => t with { Name = t.Name.Replace(from, to, StringComparison.Ordinal) });
        var e = Assert.Throws<ModelFileException>(() => SingleFileModel.Open(path));
        Assert.True(e.Message.Contains(expected, StringComparison.Ordinal) || e.Message.Contains("out.2.weight: is missing", StringComparison.Ordinal), e.Message);
    }

    private static string WithUNet(TemporaryFolder folder, Func<TensorData, TensorData> change)
    {
        SynthModel.Write(SynthPreset.Find("sd-tiny"), folder["m"], 9, StorageType.F16);
        using var unet = Checkpoint.Open(Path.Combine(folder["m"], "unet"));
        using var text = Checkpoint.Open(Path.Combine(folder["m"], "text_encoder"));
        string path = folder["one.safetensors"];
        SafetensorsWriter.Write(path, AuthorsLayout.UNet(unet, 2, 1).Select(change).Concat(AuthorsLayout.Clip(text, "cond_stage_model.transformer.")));
        return path;
    }

    private static string Sd2(TemporaryFolder folder, string metadata, params string[] extra)
    {
        SynthModel.Write(SynthPreset.Find("sd2-tiny"), folder["m"], 9, StorageType.F16);
        string path = folder["one.safetensors"];
        var tensors = extra.Where(t => t.Length > 0).Select(t =>
        {
            string[] parts = t.Split('=');
            return new TensorData(parts[0], StorageType.I64, [], BitConverter.GetBytes(parts.Length > 1 ? long.Parse(parts[1], CultureInfo.InvariantCulture) : 0));
        });
        string[] pair = metadata.Split('=');
        WriteSingle(folder["m"], path, "sd2-tiny", tensors, pair.Length > 1 ? new Dictionary<string, string> { [pair[0]] = pair[1] } : null);
        return path;
    }

    internal static void WriteSingle(string folder, string path, string preset, IEnumerable<TensorData>? extra = null, Dictionary<string, string>? metadata = null)
    {
        using Checkpoint unet = Checkpoint.Open(Path.Combine(folder, "unet")), vae = Checkpoint.Open(Path.Combine(folder, "vae")), text = Checkpoint.Open(Path.Combine(folder, "text_encoder"));
        List<TensorData> all = [.. AuthorsLayout.UNet(unet, 2, 1), .. AuthorsLayout.FirstStage(vae, 4), .. extra ?? []];
        all.Add(new TensorData("alphas_cumprod", StorageType.F32, [2], new byte[8]));
        if (preset == "sd-tiny") all.AddRange(AuthorsLayout.Clip(text, "cond_stage_model.transformer."));
        else if (preset == "sd2-tiny") all.AddRange(AuthorsLayout.OpenClip(text, "cond_stage_model.model.", extraLayer: true));
        else
        {
            using var second = Checkpoint.Open(Path.Combine(folder, "text_encoder_2"));
            all.AddRange(AuthorsLayout.Clip(text, "conditioner.embedders.0.transformer."));
            all.AddRange(AuthorsLayout.OpenClip(second, "conditioner.embedders.1.model.", extraLayer: false));
        }

        SafetensorsWriter.Write(path, all, metadata);
    }

    // Records with arrays do not compare by value.
    private static string Flat(object record)
    {
        var text = new StringBuilder();
        foreach (var p in record.GetType().GetProperties().OrderBy(p => p.Name, StringComparer.Ordinal))
            text.Append(p.Name).Append('=').Append(p.GetValue(record) is Array a ? string.Join(",", a.Cast<object>()) : Convert.ToString(p.GetValue(record), CultureInfo.InvariantCulture)).Append('\n');
        return text.ToString();
    }
}
