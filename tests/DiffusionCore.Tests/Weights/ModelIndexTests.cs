using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public sealed class ModelIndexTests
{
    private const string Sd = """
        {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6.0", "_pair": ["a", "b"], "requires_safety_checker": true,
         "feature_extractor": [null, null], "safety_checker": [null, null], "image_encoder": null, "list": [1, 2, 3],
         "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"], "unet": ["diffusers", "UNet2DConditionModel"]}
        """;

    [Fact]
    public void Components_are_pairs_and_null_ones_are_absent()
    {
        using var folder = new TemporaryFolder();
        folder.Write("model_index.json", Sd);
        folder.Write("unet/config.json", "{}");
        Assert.True(ModelIndex.IsIn(folder.Path));
        var index = ModelIndex.Load(folder.Path);
        Assert.Equal("StableDiffusionPipeline", index.ClassName);
        Assert.Equal(["scheduler", "text_encoder", "unet"], index.Components.Select(c => c.Name).Order(StringComparer.Ordinal));
        Assert.Equal(new ModelComponent("text_encoder", "transformers", "CLIPTextModel"), index.Get("text_encoder"));
        Assert.Null(index.Find("safety_checker"));
        Assert.Null(index.Find("tokenizer_2"));
        Assert.True(index.Config.GetBool("requires_safety_checker", false));
        Assert.Equal(folder["unet"], index.FolderOf("unet"));
    }

    [Theory]
    [InlineData("safety_checker", "found null")]
    [InlineData("vae", "found nothing; the model has scheduler, text_encoder, unet")]
    public void What_the_model_lacks_is_named(string component, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("model_index.json", Sd);
        Assert.Contains(expected, Assert.Throws<ModelFileException>(() => ModelIndex.Load(folder.Path).FolderOf(component)).Message, StringComparison.Ordinal);
        Assert.Contains("no such component folder", Assert.Throws<ModelFileException>(() => ModelIndex.Load(folder.Path).FolderOf("unet")).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"unet": ["a", "b"]}""", "_class_name: expected a string, found nothing")]
    [InlineData("""{"_class_name": "X", "unet": ["diffusers", null]}""", "unet: expected [library, class] or [null, null], found")]
    [InlineData("""{"_class_name": "X", "unet": [1, 2]}""", "unet: expected [library, class]")]
    [InlineData("[]", "expected a JSON object")]
    public void A_bad_index_is_a_named_error(string text, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("model_index.json", text);
        Assert.Contains(expected, Assert.Throws<ModelFileException>(() => ModelIndex.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_without_one_is_a_named_error()
    {
        using var folder = new TemporaryFolder();
        Assert.False(ModelIndex.IsIn(folder.Path));
        Assert.Contains("has no model_index.json", Assert.Throws<ModelFileException>(() => ModelIndex.Load(folder.Path)).Message, StringComparison.Ordinal);
        Assert.Contains("no such model folder", Assert.Throws<ModelFileException>(() => ModelIndex.Load(folder["none"])).Message, StringComparison.Ordinal);
    }
}
