using System.Text.Json;
using System.Xml.Linq;

namespace DiffusionCore.Cli.Tests;

/// <summary>dcore evaluate --frechet on the bundled model.</summary>
public sealed class FrechetCommandTests : CliTestBase
{
    private static readonly string[] Small = ["evaluate", "--frechet", "--device", "cpu", "--images", "16"];

    [Fact]
    public void A_sweep_goes_on_where_it_ended_and_draws_what_it_has()
    {
        string state = Path.Combine(folder, "state.json"), plot = Path.Combine(folder, "plot.svg");
        Assert.Equal(0, Run([.. Small, "--samplers", "ddim", "--nfe", "2,3", "--resume", state]).Exit);
        string before = File.ReadAllText(state);
        var run = Run([.. Small, "--samplers", "ddim,heun", "--nfe", "2,3", "--resume", state, "--plot", plot, "--json"]);
        Assert.Equal(0, run.Exit);
        using var first = JsonDocument.Parse(before);
        using var json = JsonDocument.Parse(run.Output);
        var cells = json.RootElement.GetProperty("cells").EnumerateArray().ToList();
        Assert.Equal(["ddim 2 2", "ddim 3 3", "heun 2 1", "heun 3 3"], cells.Select(c => $"{c.GetProperty("sampler").GetString()} {c.GetProperty("nfe").GetInt32()} {c.GetProperty("evaluations").GetInt32()}"));
        // A cell that was there is not measured again: its time would not be the same to the last digit.
        Assert.Equal(first.RootElement.GetProperty("seconds")[1].GetDouble(), cells[1].GetProperty("seconds_per_image").GetDouble());
        Assert.Contains(cells, c => c.GetProperty("pareto").GetBoolean());
        foreach (var c in cells.Where(c => !c.GetProperty("pareto").GetBoolean()))
            Assert.Contains(cells, o => o.GetProperty("distance").GetDouble() <= c.GetProperty("distance").GetDouble() && o.GetProperty("seconds_per_image").GetDouble() <= c.GetProperty("seconds_per_image").GetDouble() && o.GetProperty("pareto").GetBoolean());
        XNamespace ns = "http://www.w3.org/2000/svg";
        Assert.Equal(3, XDocument.Load(plot).Descendants(ns + "polyline").Count());          // two samplers and the front
        Expect(3, "settings", [.. Small, "--samplers", "ddim", "--nfe", "2", "--guidance", "2", "--resume", state]);
        Expect(6, "--force", [.. Small, "--samplers", "ddim", "--nfe", "2", "--resume", state, "--plot", plot]);
    }

    [Fact]
    public void More_steps_come_nearer_to_real_images()
    {
        using var json = JsonDocument.Parse(Run("evaluate", "--frechet", "--device", "cpu", "--images", "48", "--samplers", "ddim", "--nfe", "2,20", "--json").Output);
        var distances = json.RootElement.GetProperty("cells").EnumerateArray().Select(c => c.GetProperty("distance").GetDouble()).ToList();
        Assert.True(distances[1] < 0.5 * distances[0], $"{distances[0]} at 2 evaluations, {distances[1]} at 20");
    }

    [Theory]
    [InlineData(2, "'dddim' is", "--samplers", "dddim")]
    [InlineData(2, "--nfe: expected whole numbers", "--nfe", "5,x")]
    [InlineData(2, "--images", "--images", "3")]
    [InlineData(2, "--steps does not go with --frechet", "--steps", "5")]
    [InlineData(3, "nowhere", "--reference", "nowhere")]
    [InlineData(6, "exists already", "--make-reference", ".")]
    public void What_does_not_fit_is_refused(int exit, string message, string option, string value) => Expect(exit, message, [.. Small.Where(a => option != "--images" || a is not ("--images" or "16")), option, value]);

    [Fact]
    public void A_folder_without_the_data_is_refused() => Expect(3, "has no t10k-images", "evaluate", "--make-reference", ".", "--reference", "new.safetensors", "--device", "cpu");

    [Fact]
    public void Its_options_need_it() => Expect(2, "--nfe needs --frechet", "evaluate", "--nfe", "5");
}
