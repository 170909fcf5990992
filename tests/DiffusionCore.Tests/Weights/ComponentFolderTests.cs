using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights;

public class ComponentFolderTests
{
    [Fact]
    public void A_component_is_a_folder_inside_the_model()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["unet"]);
        Assert.Equal(folder["unet"], ComponentFolder.Of(folder.Path, "unet"));
    }

    [Theory]
    [InlineData("../unet")]
    [InlineData("..")]
    [InlineData(".")]
    [InlineData("")]
    [InlineData("/etc")]
    [InlineData("a/b")]
    [InlineData("a\\b")]
    [InlineData("unet/../../x")]
    [InlineData("unet\0")]
    public void A_name_that_leads_elsewhere_is_refused(string name)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["unet"]);
        var e = Assert.Throws<ModelFileException>(() => ComponentFolder.Of(folder.Path, name));
        Assert.Contains("is not a component name", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_component_and_a_file_in_its_place_are_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("vae: there is no such component folder", Assert.Throws<ModelFileException>(() => ComponentFolder.Of(folder.Path, "vae")).Message, StringComparison.Ordinal);
        folder.Write("unet", "");
        Assert.Contains("unet: is a file", Assert.Throws<ModelFileException>(() => ComponentFolder.Of(folder.Path, "unet")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_link_out_of_the_model_is_refused_and_one_inside_it_is_followed()
    {
        using var outside = new TemporaryFolder();
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["unet"]);
        Directory.CreateSymbolicLink(folder["inside"], folder["unet"]);
        Directory.CreateSymbolicLink(folder["relative"], "unet");
        Directory.CreateSymbolicLink(folder["outside"], outside.Path);
        Directory.CreateSymbolicLink(folder["chain"], folder["outside"]);
        Directory.CreateSymbolicLink(folder["up"], "..");
        Assert.Equal(folder["inside"], ComponentFolder.Of(folder.Path, "inside"));
        Assert.Equal(folder["relative"], ComponentFolder.Of(folder.Path, "relative"));
        foreach (string name in new[] { "outside", "chain", "up" })
            Assert.Contains("outside the model", Assert.Throws<ModelFileException>(() => ComponentFolder.Of(folder.Path, name)).Message, StringComparison.Ordinal);

        // A folder beside the model whose name begins with the model's.
        Directory.CreateDirectory(outside["model"]);
        Directory.CreateDirectory(outside["model2"]);
        Directory.CreateSymbolicLink(outside["model/unet"], "../model2");
        Assert.Throws<ModelFileException>(() => ComponentFolder.Of(outside["model"], "unet"));
    }

    [Fact]
    public void A_model_that_is_reached_through_a_link_may_have_links_inside()
    {
        using var real = new TemporaryFolder();
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(real["unet"]);
        Directory.CreateSymbolicLink(real["same"], real["unet"]);
        Directory.CreateSymbolicLink(folder["model"], real.Path);
        Assert.Equal(folder["model/same"], ComponentFolder.Of(folder["model"], "same"));

        // A link to a folder below another link.
        Directory.CreateDirectory(real["sub/unet"]);
        Directory.CreateSymbolicLink(real["sub/same"], real["sub/unet"]);
        Directory.CreateSymbolicLink(folder["below"], folder["model/sub"]);
        Assert.Equal(folder["below/same"], ComponentFolder.Of(folder["below"], "same"));
    }
}
