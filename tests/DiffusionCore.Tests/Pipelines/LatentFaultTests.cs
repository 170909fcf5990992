using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Synthesis;
using DiffusionCore.Tests.Weights;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Pipelines;

/// <summary>Checkpoints that do not fit their configuration, and requests that do not fit the model: one line that says what, where, expected and found.</summary>
public sealed class LatentFaultTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("frido-tiny", "\"num_stage\": 2", "\"num_stage\": 3", "split_embed_dim_list: expected 3 numbers as num_stage says, found 2")]
    [InlineData("frido-tiny", "\"split_embed_dim_list\": [4, 4]", "\"split_embed_dim_list\": [2, 6]", "split_embed_dim_list: expected [4, 4], the levels of first_stage_config, found [2, 6]")]
    [InlineData("frido-tiny", "\"n_embed\": [64, 64]", "\"n_embed\": [64, 65]", "ms_quantize.1.embedding.weight: expected [65, 4], file has [64, 4]")]
    [InlineData("frido-tiny", "\"n_embed\": [64, 64]", "\"n_embed\": [64]", "n_embed: expected 2 numbers as edconfig.multiscale says, found 1")]
    [InlineData("frido-tiny", "\"context_dim\": 24", "\"context_dim\": 32", "expected [")]
    [InlineData("frido-tiny", "\"vocab_size\": 256", "\"vocab_size\": 300", "token_emb.weight: expected [300, 24], file has [256, 24]")]
    [InlineData("frido-tiny-layout", "\"no_tokens\": 100", "\"no_tokens\": 1024", "no_tokens: a layout has 1024 tokens, the encoder embeds 256")]
    [InlineData("frido-tiny-layout", "\"max_objects_per_image\": 4", "\"max_objects_per_image\": 8", "max_objects_per_image: a layout of 8 objects has 26 tokens, the encoder has 16 positions")]
    [InlineData("ldm-tiny", "\"n_classes\": 11", "\"n_classes\": 12", "embedding.weight: expected [12, 24], file has [11, 24]")]
    [InlineData("ldm-tiny", "VQModelInterface", "Autoencoder", "is no first stage of a LatentDiffusion")]
    [InlineData("ldm-tiny-sr", "\"conditioning_key\": \"concat\"", "\"conditioning_key\": \"hybrid\"", "conditioning_key: 'hybrid' is not supported")]
    [InlineData("ldm-tiny-sr", "{\"target\": \"torch.nn.Identity\"}", "\"__is_first_stage__\"", "in_channels: expected 7: 3 of the latent and 4 of the condition, found 6")]
    public void A_configuration_that_does_not_fit_is_named(string preset, string from, string to, string part)
    {
        SynthModel.Write(SynthPreset.Find(preset), folder["m"], 1, StorageType.F16);
        string path = Path.Combine(folder["m"], "config.json"), text = File.ReadAllText(path);
        Assert.Contains(from, text, StringComparison.Ordinal);
        File.WriteAllText(path, text.Replace(from, to, StringComparison.Ordinal));
        var e = Assert.ThrowsAny<ModelFileException>(() => ModelFolder.Load(folder["m"]).Dispose());
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Theory]
    [InlineData("ldm-tiny-sr", 9, 8, null, "low-resolution image: expected width and height in multiples of 2, found 9x8")]
    [InlineData("ldm-tiny-sr", 8, 8, 32, "low-resolution image: expected 16x16, 1/2 of the image that is made, found 8x8")]
    [InlineData("ldm-tiny-sr", 0, 0, null, "give --low-res")]
    [InlineData("ldm-tiny", 8, 8, null, "low-resolution image: ldm-tiny takes none")]
    public void A_small_image_of_the_wrong_size_is_named(string preset, int width, int height, int? side, string part)
    {
        string path = folder[preset];
        SynthModel.Write(SynthPreset.Find(preset), path, 1, StorageType.F16);
        using var model = ModelFolder.Load(path);
        using var device = new CpuDevice(1);
        using var pipeline = new GeneratePipeline(model, device);
        var request = new GenerateRequest { Options = new SamplerOptions { Steps = 2 }, Width = side, Height = side, LowResolution = width == 0 ? null : new SourceImage(width, height, 3, new float[width * height * 3]) };
        Assert.Contains(part, Assert.Throws<UsageException>(() => pipeline.Plan(request)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_layout_of_too_many_objects_or_of_unknown_labels_is_named()
    {
        SynthModel.Write(SynthPreset.Find("frido-tiny-layout"), folder["m"], 1, StorageType.F16);
        using var model = ModelFolder.Load(folder["m"]);
        using var device = new CpuDevice(1);
        using var pipeline = new GeneratePipeline(model, device);
        var one = new LayoutObject("5", 0, 0, 1, 1);
        Fails("layout: expected at most 4 objects, found 5", [one, one, one, one, one]);
        Fails("class 'dragon' is unknown", [one with { Label = "dragon" }]);
        Fails("class '99' is unknown", [one with { Label = "99" }]);
        Fails("give --layout", null);

        void Fails(string part, IReadOnlyList<LayoutObject>? layout) =>
            Assert.Contains(part, Assert.Throws<UsageException>(() => pipeline.Plan(new GenerateRequest { Layout = layout, Options = new SamplerOptions { Steps = 2 } })).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"objects\": [{\"label\": \"a\", \"box\": [0, 0, 1]}]}", "objects[0].box: expected [x, y, width, height], found 3 numbers")]
    [InlineData("{\"objects\": [{\"label\": \"a\", \"box\": [0.5, 0, 0.6, 1]}]}", "objects[0].box: expected a box inside the image")]
    [InlineData("{\"objects\": [{\"box\": [0, 0, 1, 1]}]}", "label: expected a string, found nothing")]
    [InlineData("{\"things\": []}", "objects: expected an array of objects, found nothing")]
    public void A_layout_file_that_is_none_is_named(string text, string part)
    {
        File.WriteAllText(folder["l.json"], text);
        Assert.Contains(part, Assert.Throws<ModelFileException>(() => LayoutFile.Read(folder["l.json"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Steps_that_would_begin_after_the_last_trained_one_are_named_with_the_nearest_that_do_not()
    {
        SynthModel.Write(SynthPreset.Find("ldm-tiny"), folder["m"], 1, StorageType.F16);
        using var model = ModelFolder.Load(folder["m"]);
        using var device = new CpuDevice(1);
        using var pipeline = new GeneratePipeline(model, device);
        // 1000/27 = 37, and 1 + 27*37 = 1000 is one more than there are.
        Assert.Contains("use 26", Assert.Throws<UsageException>(() => pipeline.Plan(new GenerateRequest { Options = new SamplerOptions { Steps = 27 } })).Message, StringComparison.Ordinal);
        Assert.Equal(997, pipeline.Plan(new GenerateRequest { Options = new SamplerOptions { Steps = 6 } }).Timesteps[0]);
    }
}
