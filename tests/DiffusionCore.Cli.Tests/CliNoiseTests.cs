using System.Text.Json;
using DiffusionCore.Imaging;

namespace DiffusionCore.Cli.Tests;

public sealed class CliNoiseTests : CliTestBase
{
    [Theory]
    [InlineData("use torch-cpu", "--noise", "philox")]
    [InlineData("MULTIPROCESSORS,THREADS", "--noise", "torch-cuda")]
    [InlineData("belongs to torch-cpu", "--noise", "nv", "--noise-dtype", "f64")]
    [InlineData("use f32, f64, f16 or bf16", "--noise-dtype", "f8")]
    [InlineData("use per-image or batch", "--seed-mode", "one")]
    [InlineData("--variation-seed: expected", "--variation-seed", "x")]
    [InlineData("--variation-strength: expected", "--variation-seed", "1", "--variation-strength", "2")]
    [InlineData("use seed mode per-image", "--variation-seed", "1", "--seed-mode", "batch")]
    public void Noise_that_there_is_not_is_refused(string says, params string[] options)
    {
        var result = Run(["generate", "--steps", "1", "-o", "x.png", .. options]);
        Assert.Equal(2, result.Exit);
        Assert.Contains(says, result.Error);
        Assert.Empty(Directory.GetFileSystemEntries(folder));
    }

    [Fact]
    public void The_noise_and_the_seed_are_in_the_picture_and_the_document()
    {
        var result = Run("generate", "--class", "bag", "--steps", "1", "--seed", "5", "--noise", "torch-cuda:108,2048", "--noise-dtype", "f16", "--variation-seed", "9", "--variation-strength", "0.25", "--json", "-o", "bag.png");
        Assert.Equal(0, result.Exit);
        string text = Assert.Single(PngFile.ReadTexts(File.ReadAllBytes(Path.Combine(folder, "bag.png")), "bag.png"), t => t.Key == "parameters").Text;
        Assert.Contains("Seed: 5", text);
        Assert.Contains("Noise: torch-cuda:108,2048 f16, Variation seed: 9, Variation seed strength: 0.25", text);
        using var document = JsonDocument.Parse(result.Output);
        Assert.Equal(5, document.RootElement.GetProperty("seed").GetInt32());
        Assert.Equal("torch-cuda:108,2048", document.RootElement.GetProperty("noise").GetString());
        Assert.Equal("f16", document.RootElement.GetProperty("noise_dtype").GetString());
        Assert.Equal(9, document.RootElement.GetProperty("variation_seed").GetInt32());
    }

    [Fact]
    public void One_draw_for_all_gives_the_same_images_in_any_batch()
    {
        foreach (string batch in (string[])["2", "3"])
        {
            var result = Run("generate", "--class", "bag", "--steps", "2", "--seed", "5", "--seed-mode", "batch", "--count", "3", "--batch", batch, "-o", $"b{batch}.png");
            Assert.Equal(0, result.Exit);
        }

        for (int i = 1; i <= 3; i++)
            Assert.Equal(File.ReadAllBytes(Path.Combine(folder, $"b2-{i:D5}.png")), File.ReadAllBytes(Path.Combine(folder, $"b3-{i:D5}.png")));
    }
}
