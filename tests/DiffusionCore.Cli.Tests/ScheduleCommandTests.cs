using System.Text.Json;
using System.Xml.Linq;

namespace DiffusionCore.Cli.Tests;

/// <summary>dcore schedule: samplers and schedules of four programs as numbers and as a picture.</summary>
public sealed class ScheduleCommandTests : CliTestBase
{
    [Fact]
    public void Json_holds_levels_times_and_coefficients()
    {
        using var json = JsonDocument.Parse(Run("schedule", "--sampler", "DPM++ SDE", "--schedule", "karras", "--compat", "comfy", "--steps", "5", "--json").Output);
        var root = json.RootElement;
        Assert.Equal("dpmpp_sde", root.GetProperty("sampler").GetString());
        Assert.Equal(6, root.GetProperty("sigmas").GetArrayLength());
        Assert.Equal(9, root.GetProperty("evaluations").GetArrayLength());
        Assert.Equal(9, root.GetProperty("alphas").GetArrayLength());
        double sigma = root.GetProperty("sigmas")[0].GetDouble();
        Assert.Equal(-2 * Math.Log(sigma), root.GetProperty("log_snr")[0].GetDouble(), 1e-9);
        Assert.Equal(1 / Math.Sqrt(1 + sigma * sigma), root.GetProperty("alphas")[0].GetDouble(), 1e-9);
    }

    [Fact]
    public void Lists_of_levels_and_times_are_taken()
    {
        using var levels = JsonDocument.Parse(Run("schedule", "--sampler", "euler", "--sigmas", "9,3,0.5,0", "--json").Output);
        Assert.Equal([9, 3, 0.5, 0], levels.RootElement.GetProperty("sigmas").EnumerateArray().Select(v => v.GetDouble()));
        using var times = JsonDocument.Parse(Run("schedule", "--sampler", "ddim", "--timesteps", "900,400,10", "--json").Output);
        Assert.Equal([900, 400, 10], times.RootElement.GetProperty("timesteps").EnumerateArray().Select(v => v.GetDouble()));
    }

    [Fact]
    public void A_picture_draws_every_run()
    {
        string path = Path.Combine(folder, "plot.svg");
        var run = Run("schedule", "--sampler", "euler,dpmpp_sde", "--schedule", "karras,kl_optimal", "--steps", "8", "--plot", path, "--json");
        Assert.Equal(0, run.Exit);
        using var json = JsonDocument.Parse(run.Output);
        Assert.Equal(["euler karras", "euler kl_optimal", "dpmpp_sde karras", "dpmpp_sde kl_optimal"], json.RootElement.GetProperty("plans").EnumerateArray().Select(p => p.GetProperty("label").GetString()));
        var svg = XDocument.Load(path);
        XNamespace ns = "http://www.w3.org/2000/svg";
        var curves = svg.Descendants(ns + "polyline").ToList();
        Assert.Equal(8, curves.Count);                                             // four runs in two panels
        Assert.Equal(8, curves[0].Attribute("points")!.Value.Split(' ').Length);
        Assert.Contains(svg.Descendants(ns + "text"), t => t.Value.StartsWith("dpmpp_sde kl_optimal", StringComparison.Ordinal));
        Assert.Equal(6, Run("schedule", "--sampler", "euler", "--plot", path).Exit);
        Assert.Equal(0, Run("schedule", "--sampler", "euler", "--plot", path, "--force").Exit);
    }

    [Fact]
    public void An_adaptive_run_says_so() => Assert.Contains("chooses its steps as it goes", Run("schedule", "--sampler", "dpm_adaptive").Output, StringComparison.Ordinal);

    [Theory]
    [InlineData("did you mean 'comfy'", "--sampler", "euler", "--compat", "comfi")]
    [InlineData("--sigmas: expected numbers by commas, found 'x' at place 2", "--sampler", "euler", "--sigmas", "3,x")]
    [InlineData("sigmas[1]: 4 does not fall below 3", "--sampler", "euler", "--sigmas", "3,4,0")]
    [InlineData("exclude each other", "--sampler", "euler", "--sigmas", "3,1,0", "--timesteps", "9,5")]
    [InlineData("eta: gradient_estimation is deterministic", "--sampler", "gradient_estimation", "--eta", "0.5")]
    [InlineData("found nothing", "--sampler", ",")]
    public void Bad_input_is_one_line(string problem, params string[] arguments)
    {
        var run = Run(["schedule", .. arguments]);
        Assert.Equal(2, run.Exit);
        Assert.Contains(problem, run.Error, StringComparison.Ordinal);
    }
}
