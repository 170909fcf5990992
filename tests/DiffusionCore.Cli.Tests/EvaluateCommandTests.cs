using System.Text.Json;

namespace DiffusionCore.Cli.Tests;

/// <summary>dcore evaluate and evaluate --shortcuts.</summary>
public sealed class EvaluateCommandTests : CliTestBase
{
    private static readonly string[] Twenty = ["evaluate", "--per-class", "2", "--steps", "10", "--sampler", "ddim", "--seed", "3", "--device", "cpu", "--json"];

    [Fact]
    public void Images_are_counted_in_their_class_and_the_table_of_shortcuts_counts_the_same()
    {
        using var plain = JsonDocument.Parse(Run(Twenty).Output);
        int agreed = plain.RootElement.GetProperty("agreed").GetInt32();
        Assert.Equal(20, plain.RootElement.GetProperty("images").GetInt32());
        Assert.InRange(agreed, 15, 20);
        var classes = plain.RootElement.GetProperty("classes").EnumerateObject().Select(c => c.Value.GetInt32()).ToList();
        Assert.Equal(10, classes.Count);
        Assert.All(classes, c => Assert.InRange(c, 0, 2));
        Assert.Equal(agreed, classes.Sum());

        using var table = JsonDocument.Parse(Run([.. Twenty, "--shortcuts", "--deepcache", "interval=2"]).Output);
        var rows = table.RootElement.GetProperty("shortcuts").EnumerateArray().ToList();
        Assert.Equal(2, rows.Count);
        Assert.Equal(agreed, rows[0].GetProperty("agreed").GetInt32());
        Assert.Equal(0, rows[0].GetProperty("rms").GetDouble());
        Assert.InRange(rows[1].GetProperty("rms").GetDouble(), 1e-4, 0.5);
    }

    [Theory]
    [InlineData("--size, --deepcache, --tome, --tgate, --reuse-encoder and --coarse go with --shortcuts", "--deepcache", "interval=2")]
    [InlineData("ask for one", "--shortcuts", "--frechet")]
    [InlineData("--samplers does not go with --make-reference", "--make-reference", ".", "--samplers", "ddim")]
    [InlineData("--guidance does not go with --make-reference", "--make-reference", ".", "--guidance", "2")]
    [InlineData("--classifier-guidance replaces --guidance", "--classifier-guidance", "1", "--guidance", "2")]
    [InlineData("goes neither with --shortcuts nor with --frechet", "--classifier-guidance", "1", "--shortcuts")]
    public void Options_that_have_no_effect_together_are_refused(string problem, params string[] options) => Expect(2, problem, ["evaluate", .. options]);

    [Fact]
    public void Of_a_model_of_latents_the_time_of_one_image_is_taken()
    {
        Assert.Equal(0, Run("synth", "ldm-tiny", "-o", "m").Exit);
        string[] latents = ["evaluate", "--shortcuts", "--model", "m", "--steps", "4", "--deepcache", "interval=2", "--device", "cpu", "--json"];
        using var table = JsonDocument.Parse(Run(latents).Output);
        Assert.Equal(1, table.RootElement.GetProperty("images").GetInt32());
        Assert.All(table.RootElement.GetProperty("shortcuts").EnumerateArray(), r => Assert.True(r.GetProperty("ms_per_evaluation").GetDouble() > 0));
        Expect(2, "--per-class: m works on latents", [.. latents, "--per-class", "2"]);
        Expect(2, "--classifier: m works on latents", [.. latents, "--classifier", "x"]);
    }
}
