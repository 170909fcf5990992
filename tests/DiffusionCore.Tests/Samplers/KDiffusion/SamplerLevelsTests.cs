using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Tests.Samplers.KDiffusion;

/// <summary>Samplers on noise levels by the names that users type, on a model's own levels, in the mathematics of four programs.</summary>
public sealed class SamplerLevelsTests
{
    private static readonly SchedulerConfig Config = new() { BetaStart = 0.00085, BetaEnd = 0.012, BetaSchedule = "scaled_linear" };

    private static readonly ModelLevels Model = ModelLevels.Of(Config);

    [Theory]
    [InlineData("DPM++ 2S a", "dpmpp_2s_ancestral")]
    [InlineData("DPM++ 2S a Karras", "dpmpp_2s_ancestral")]
    [InlineData("DPM++ SDE", "dpmpp_sde")]
    [InlineData("DPM++ 3M SDE Exponential", "dpmpp_3m_sde")]
    [InlineData("DPM2 a", "dpm_2_ancestral")]
    [InlineData("DPM fast", "dpm_fast")]
    [InlineData("DPM adaptive", "dpm_adaptive")]
    [InlineData("sample_dpmpp_sde", "dpmpp_sde")]
    [InlineData("sample_dpm_2", "dpm_2")]
    [InlineData("Restart", "restart")]
    [InlineData("er_sde kl_optimal", "er_sde")]
    [InlineData("seeds-2", "seeds_2")]
    [InlineData("DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun")]
    [InlineData("DPM++ 2M SDE Heun Exponential", "dpmpp_2m_sde_heun")]
    public void Names_of_other_programs_are_known(string name, string canonical) => Assert.Equal(canonical, Plan(name).Name);

    [Theory]
    [InlineData(Compatibility.Diffusers)]
    [InlineData(Compatibility.A1111)]
    [InlineData(Compatibility.Comfy)]
    [InlineData(Compatibility.KDiffusion)]
    public void Every_sampler_leads_to_x0(Compatibility compatibility)
    {
        foreach (string name in KSampler.Names)
        {
            foreach (int steps in (int[])[3, 7, 21])
            {
                var plan = Plan(name, compatibility, steps);
                int call = 0;
                Evaluation? current = null;
                var run = plan.Start();
                double[] x = [1.9 * plan.InitialSigma];
                // The network is eps of a point, told nothing but its input: the level follows from the evaluation.
                var seen = plan with { Adaptive = () => new Recorder(run, e => current = e) };
                double[] end = HostSampler.Run(
                    seen, x,
                    (input, _) =>
                    {
                        call++;
                        return [(input[0] / current!.InputScale - 0.37) / current.Sigma];
                    },
                    z => z[0] = 0.3, unconditional: (input, _) => [(input[0] / current!.InputScale - 0.37) / current.Sigma], guidance: 3);
                // dpm_fast and dpm_adaptive end at the least level, with a noise of its size.
                bool open = name is "dpm_fast" or "dpm_adaptive";
                Assert.True(Math.Abs(end[0] - 0.37) <= (open ? 0.1 : 1e-6), $"{name}, {steps} steps: {end[0]}");
                Assert.True(call >= Math.Min(steps, 3) - 1);
            }
        }
    }

    [Fact]
    public void Programs_differ_where_they_do()
    {
        var diffusers = Plan("dpm_2", Compatibility.Diffusers, 10);
        var webui = Plan("dpm_2", Compatibility.A1111, 10);
        var comfy = Plan("dpm_2", Compatibility.Comfy, 10);
        Assert.Equal(11, diffusers.Sigmas!.Length);
        // One more step, and the level before the last is gone.
        Assert.Equal(11, webui.Sigmas!.Length);
        Assert.NotEqual(Model.Minimum, webui.Sigmas[^2]);
        Assert.Equal(Model.Minimum, Plan("heun", Compatibility.A1111, 10).Sigmas![^2]);
        Assert.Equal(Model.Maximum, webui.InitialSigma, 1e-9);
        Assert.Equal(Math.Sqrt(1 + Model.Maximum * Model.Maximum), comfy.InitialSigma, 1e-9);
        // Whole times at ComfyUI, fractions elsewhere.
        Assert.All(comfy.Evaluations, e => Assert.Equal(Math.Round(e.Time), e.Time));
        Assert.Contains(webui.Evaluations, e => Math.Round(e.Time) != e.Time);
        // The same name, the class's mathematics and k-diffusion's: without churn Euler is the same numbers.
        var own = Sampler.Plan(Config with { Spacing = "linspace" }, new SamplerOptions { Steps = 10 }, "euler");
        var other = Plan("euler", Compatibility.KDiffusion, 10);
        Assert.Equal(own.Evaluations[3].X, other.Evaluations[3].X, 1e-6);
    }

    [Theory]
    [InlineData("DPM++ SDE", "karras", 0)]
    [InlineData("DPM++ 2M", "karras", 0)]
    [InlineData("DPM++ 2M SDE", "exponential", 0)]
    [InlineData("Euler a", "uniform", 0)]
    [InlineData("DPM2", "karras", 1)]
    [InlineData("DPM++ 3M SDE", "exponential", 1)]
    public void Automatic_is_what_the_web_program_chooses(string name, string schedule, int dropped)
    {
        double[] expected = LevelSchedule.Build(schedule, Model, 9 + dropped, Compatibility.A1111);
        if (dropped > 0) expected = [.. expected[..^2], 0];
        foreach (string? way in (string?[])[null, "default", "automatic"])
            Assert.Equal(expected, Sampler.Plan(Config, new SamplerOptions { Steps = 9, Compatibility = Compatibility.A1111 }, name, way).Sigmas!);
    }

    [Fact]
    public void Schedules_and_lists_place_the_levels()
    {
        Assert.Equal(LevelSchedule.Build("sgm_uniform", Model, 6, Compatibility.Comfy), Sampler.Plan(Config, new SamplerOptions { Steps = 6, Compatibility = Compatibility.Comfy }, "dpmpp_sde", "sgm_uniform").Sigmas!);
        Assert.Equal([5, 2, 0], Sampler.Plan(Config, new SamplerOptions { Sigmas = [5, 2, 0] }, "dpmpp_sde").Sigmas!);
        Assert.Equal([Model.Sigmas[900], Model.Sigmas[100], 0], Sampler.Plan(Config, new SamplerOptions { Timesteps = [900, 100] }, "dpmpp_sde").Sigmas!);
        // A class takes the new schedules as lists.
        Assert.Equal(LevelSchedule.Build("kl_optimal", Model, 8, Compatibility.Diffusers), Sampler.Plan(Config, new SamplerOptions { Steps = 8 }, "euler", "kl_optimal").Sigmas!);
        Assert.Equal(7, Sampler.Plan(Config, new SamplerOptions { Steps = 10, SkipSteps = 3 }, "dpmpp_2s_ancestral").Sigmas!.Length - 1);
        Assert.Equal(3, Sampler.Plan(Config, new SamplerOptions { Steps = 10, SkipSteps = 3 }, "dpmpp_2s_ancestral").Evaluations[0].Step);
    }

    [Fact]
    public void Bad_input_is_refused()
    {
        Refused("no step is left", new SamplerOptions { Steps = 5, SkipSteps = 5 }, "dpmpp_sde");
        Refused("exclude each other", new SamplerOptions { Sigmas = [2, 1, 0] }, "dpmpp_sde", "karras");
        Refused("exclude each other", new SamplerOptions { Sigmas = [2, 1, 0] }, "DPM++ SDE Karras");
        Refused("sigmas[1]: 2 does not fall below 1", new SamplerOptions { Sigmas = [1, 2] }, "dpmpp_sde");
        Refused("sigmas[1]: 1 does not fall below 1", new SamplerOptions { Sigmas = [1, 1] }, "dpmpp_sde");
        Refused("eta: gradient_estimation is deterministic", new SamplerOptions { Eta = 0.5 }, "gradient_estimation");
        Refused("compat: name a sampler", new SamplerOptions { Compatibility = Compatibility.Comfy }, null);
        Refused("exists in the mathematics of diffusers only", new SamplerOptions { Compatibility = Compatibility.Comfy }, "ddim");
        Refused("did you mean 'kl_optimal'", new SamplerOptions { Compatibility = Compatibility.Comfy }, "euler", "kl_optimall");
        Refused("places noise levels of the betas", new SamplerOptions(), "ddpm", "kl_optimal");
        Refused("rho: expected a positive number", new SamplerOptions { Rho = -1, Compatibility = Compatibility.Comfy }, "euler", "karras");
        Refused("did you mean 'seeds_2'", new SamplerOptions(), "seed_2");

        static void Refused(string problem, SamplerOptions options, string? name, string? schedule = null)
        {
            string message = Assert.Throws<UsageException>(() => Sampler.Plan(Config, options, name, schedule)).Message;
            Assert.Contains(problem, message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
        }
    }

    private static SamplerPlan Plan(string name, Compatibility compatibility = Compatibility.Diffusers, int steps = 12) =>
        compatibility == Compatibility.Diffusers && Sampler.Names.Contains(name)
            ? Sampler.Plan(Config, new SamplerOptions { Steps = steps, Compatibility = Compatibility.KDiffusion }, name)
            : Sampler.Plan(Config, new SamplerOptions { Steps = steps, Compatibility = compatibility }, name);

    private sealed class Recorder(ISamplerRun run, Action<Evaluation> see) : ISamplerRun
    {
        public Evaluation? Next(double measured)
        {
            var e = run.Next(measured);
            if (e is not null) see(e);
            return e;
        }
    }
}
