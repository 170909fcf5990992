using System.Text.Json;

namespace DiffusionCore.Cli.Tests;

/// <summary>Guidance and sampler options of dcore generate and dcore schedule; bad input is one line.</summary>
public sealed class GuidanceCliTests : CliTestBase
{
    [Fact]
    public void Guidance_of_every_form_is_taken_and_written_into_the_picture()
    {
        string[] shared = ["generate", "--class", "sneaker", "--sampler", "dpmpp_2m", "--steps", "4", "--seed", "3", "--json"];
        foreach (var (options, written) in ((string[], string)[])
        [
            (["--guidance", "4,3,2"], "CFG scale: 4 3 2"),
            (["--guidance", "4..1.5:cosine", "--guidance-rescale", "0.7", "--threshold", "0.95,3"], "CFG scale: 4..1.5:cosine, CFG rescale: 0.7, Dynamic threshold: 0.95 up to 3"),
            (["--guidance", "4", "--apg-norm", "5", "--apg-momentum", "-0.5"], "CFG scale: 4, APG: norm 5 momentum -0.5 eta 0"),
            (["--guidance", "2", "--pag", "3", "--pag-layers", "mid_block", "--state", "f64"], "CFG scale: 2, PAG: 3 in mid_block"),
        ])
        {
            var run = Run([.. shared, .. options, "-o", "x.png", "--force"]);
            Assert.True(run.Exit == 0, run.Error);
            using var json = JsonDocument.Parse(run.Output);
            Assert.Equal(4, json.RootElement.GetProperty("evaluations").GetInt32());
            Assert.Equal(written, json.RootElement.GetProperty("guidance_form").GetString());
        }
    }

    [Fact]
    public void An_adaptive_run_reports_the_evaluations_that_it_took()
    {
        var run = Run("generate", "--class", "sneaker", "--sampler", "dpm_adaptive", "--seed", "3", "--json", "-o", "x.png");
        Assert.True(run.Exit == 0, run.Error);
        using var json = JsonDocument.Parse(run.Output);
        Assert.True(json.RootElement.GetProperty("evaluations").GetInt32() > 6);
    }

    [Fact]
    public void Repaint_fills_what_the_mask_leaves_open()
    {
        Assert.Equal(0, Run("generate", "--class", "bag", "--steps", "4", "--sampler", "dpmpp_2m", "--seed", "1", "-o", "init.png").Exit);
        Assert.Equal(0, Run("generate", "--class", "shirt", "--steps", "4", "--sampler", "dpmpp_2m", "--seed", "2", "-o", "mask.png").Exit);
        var run = Run("generate", "--class", "bag", "--sampler", "repaint", "--steps", "6", "--jump-length", "2", "--jump-samples", "2", "--init", "init.png", "--mask", "mask.png", "--seed", "5", "-o", "y.png");
        Assert.True(run.Exit == 0, run.Error);
        Expect(2, "needs an image and a mask; give --init and --mask", "generate", "--class", "bag", "--sampler", "repaint", "--steps", "6", "-o", "x.png");
        Expect(2, "--strength: repaint starts from noise", "generate", "--class", "bag", "--sampler", "repaint", "--init", "init.png", "--mask", "mask.png", "--strength", "0.5", "-o", "x.png");
    }

    [Fact]
    public void A_shift_moves_every_level_and_stops_at_the_models_own()
    {
        double[] plain = Levels(), half = Levels("--snr-shift", "0.5"), large = Levels("--snr-shift", "2");
        for (int i = 0; i < plain.Length - 1; i++)
        {
            if (plain[i] * 0.5 > plain[^2]) Assert.Equal(plain[i] * 0.5, half[i], 1e-9);
        }

        Assert.Equal(2 * plain[3], large[3], 1e-9);
        Assert.Equal(0, large[^1]);
        double[] most = Levels("--snr-shift", "500"), more = Levels("--snr-shift", "1000");
        Assert.True(most[0] < 500 * plain[0]);
        Assert.Equal(most[0], more[0]);
        Assert.True(more.Length < plain.Length);
        Expect(2, "snr shift: ddim works on training steps", "schedule", "--sampler", "ddim", "--snr-shift", "2");
        Expect(2, "--snr-shift: expected a number", "schedule", "--sampler", "euler", "--snr-shift", "0");

        double[] Levels(params string[] more)
        {
            using var json = JsonDocument.Parse(Run(["schedule", "--sampler", "euler", "--schedule", "karras", "--steps", "8", "--json", .. more]).Output);
            return [.. json.RootElement.GetProperty("sigmas").EnumerateArray().Select(v => v.GetDouble())];
        }
    }

    [Theory]
    [InlineData("sigmas[1]: 4 does not fall below 3", "--sampler", "euler", "--sigmas", "3,4,0")]
    [InlineData("sigmas[1]: 3 does not fall below 3", "--sampler", "dpmpp_2m", "--sigmas", "3,3,0")]
    [InlineData("timesteps[1]: 500 does not fall below 500", "--sampler", "ddim", "--timesteps", "500,500,2")]
    [InlineData("order: deis has orders 1 to 3, found 4", "--sampler", "deis", "--order", "4")]
    [InlineData("order: lms has orders 1 to 4, found 0", "--sampler", "lms", "--order", "0")]
    [InlineData("order: er_sde", "--sampler", "er_sde", "--order", "9")]
    [InlineData("order: euler has none to choose; it belongs to", "--sampler", "euler", "--order", "2")]
    [InlineData("eta: euler has none; it belongs to", "--sampler", "euler", "--eta", "0.5")]
    [InlineData("guidance interval: expected 0 <= low <= high, found 5 to 0.3", "--guidance-interval", "5,0.3")]
    [InlineData("--guidance-interval: expected two noise levels", "--guidance-interval", "5")]
    [InlineData("--guidance: expected a number from -1000 to 1000, several by commas, or a course such as 7.5..2, found 'x'", "--guidance", "3,x")]
    [InlineData("--guidance-rescale: expected a number from 0 to 1", "--guidance-rescale", "1.5")]
    [InlineData("apg momentum: expected a number between -1 and 1", "--apg-momentum", "1")]
    [InlineData("--pag and --slg exclude each other", "--pag", "1", "--slg", "1")]
    [InlineData("pag layers: 'x' has no self-attention", "--pag", "1", "--pag-layers", "x")]
    [InlineData("--pag-layers: give --pag SCALE", "--pag-layers", "mid_block")]
    [InlineData("sampler flow-euler is for rectified flow; this model's scheduler is DDPMScheduler", "--sampler", "flow-euler")]
    [InlineData("--state: expected f32 or f64, found 'f16'", "--state", "f16")]
    [InlineData("belong to the sampler repaint", "--jump-length", "4")]
    [InlineData("puts both branches together itself (CFG++)", "--sampler", "euler_cfg_pp", "--guidance-rescale", "0.5")]
    [InlineData("tiles: fashion-ddpm-32 works on pixels", "--vae-tiling")]
    [InlineData("it is for single files", "--prediction", "epsilon")]
    [InlineData("--strength: says how far --init is taken back", "--strength", "0.5")]
    [InlineData("--control-scale: multiplies what a --control-net adds", "--control-scale", "0.5")]
    public void Bad_sampling_options_are_one_line(string problem, params string[] options)
    {
        var result = Run(["generate", "--class", "bag", "--steps", "4", "-o", "x.png", .. options]);
        Assert.True(result.Exit == 2 && result.Error.Contains(problem, StringComparison.Ordinal), $"exit {result.Exit}: {result.Error}");
        Assert.Single(result.Error.Trim().Split('\n'), l => l.StartsWith("dcore: error:", StringComparison.Ordinal));
        Assert.False(File.Exists(Path.Combine(folder, "x.png")));
    }

    [Fact]
    public void A_configuration_of_an_unknown_class_lists_those_there_are()
    {
        File.WriteAllText(Path.Combine(folder, "scheduler_config.json"), """{"_class_name": "DreamScheduler"}""");
        Expect(3, "DreamScheduler", "schedule", "--config", "scheduler_config.json");
        Expect(3, "DDIMScheduler", "schedule", "--config", "scheduler_config.json");
        Expect(3, "UniPCMultistepScheduler", "schedule", "--config", "scheduler_config.json");
    }
}
