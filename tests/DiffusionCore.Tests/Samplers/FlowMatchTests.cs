using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Rectified flow: its steps and its shifts.</summary>
public sealed class FlowMatchTests
{
    private static readonly SchedulerConfig Flow = new() { ClassName = "FlowMatchEulerDiscreteScheduler", Prediction = Prediction.Flow };

    [Fact]
    public void Euler_moves_along_the_velocity()
    {
        var plan = Sampler.Plan(Flow with { Shift = 3 }, new SamplerOptions { Sigmas = [1, 0.5, 0] });
        Assert.Equal([1, 0.75, 0], plan.Sigmas!);                                      // 3*0.5/(1 + 2*0.5)
        Assert.Equal([1000, 750], plan.Timesteps);
        var first = plan.Evaluations[0];
        Assert.Equal((0, 1, 1), (first.Alpha, first.Sigma, first.X));
        double x = 0;
        HostSampler.Run(plan with { Evaluations = [first] }, [2.0], (_, _) => [0.8], after: (_, v) => x = v[0]);
        Assert.Equal(2 - 0.25 * 0.8, x, 1e-12);
    }

    [Fact]
    public void Heun_averages_two_velocities()
    {
        var plan = Sampler.Plan(Flow with { ClassName = "FlowMatchHeunDiscreteScheduler" }, new SamplerOptions { Sigmas = [1, 0.5, 0] });
        double[] outputs = [0.8, 0.2, 0.6];
        int call = 0;
        var seen = new List<double>();
        HostSampler.Run(plan, [2.0], (_, _) => [outputs[call++]], after: (_, v) => seen.Add(v[0]));
        Assert.Equal([1.6, 1.75, 1.45], seen.Select(v => Math.Round(v, 12)));
    }

    [Fact]
    public void Drawing_anew_keeps_denoised_alone()
    {
        var first = Sampler.Plan(Flow with { StochasticSampling = true }, new SamplerOptions { Sigmas = [1, 0.5, 0] }).Evaluations[0];
        Assert.Equal((0, 0.5, 0, 0.5), (first.X, first.D, first.E, first.N));
        Assert.True(Sampler.Plan(Flow, new SamplerOptions { Steps = 4 }, "flow-lcm").Evaluations[3].DrawsNoise);
    }

    [Fact]
    public void The_dynamic_shift_follows_from_the_tokens()
    {
        var config = Flow with { DynamicShift = true };
        var fixedShift = Sampler.Plan(Flow with { Shift = 3 }, new SamplerOptions { Sigmas = [1, 0.5, 0.25, 0] });
        Assert.Equal(fixedShift.Sigmas!, Sampler.Plan(config, new SamplerOptions { Sigmas = [1, 0.5, 0.25, 0], Shift = Math.Log(3) }).Sigmas!, Near);
        Assert.Equal(fixedShift.Sigmas!, Sampler.Plan(config with { TimeShiftType = "linear" }, new SamplerOptions { Sigmas = [1, 0.5, 0.25, 0], Shift = 3 }).Sigmas!, Near);
        // Half way between 256 and 4096 tokens: half way between 0.5 and 1.15.
        Assert.Equal(Sampler.Plan(config, new SamplerOptions { Steps = 7, Shift = 0.825 }).Sigmas!, Sampler.Plan(config, new SamplerOptions { Steps = 7, ImageTokens = 2176 }).Sigmas!, Near);
        Assert.Contains("number of image tokens", Assert.Throws<UsageException>(() => Sampler.Plan(config, new SamplerOptions { Steps = 7 })).Message, StringComparison.Ordinal);

        static bool Near(double a, double b) => Math.Abs(a - b) < 1e-12;
    }

    [Fact]
    public void Given_timesteps_are_fractions_of_the_training()
    {
        var options = new SamplerOptions { Timesteps = [1000, 500], Steps = 2 };
        Assert.Equal([1, 0.75, 0], Sampler.Plan(Flow with { Shift = 3 }, options).Sigmas!);
        Assert.Equal([1000, 750], Sampler.Plan(Flow with { Shift = 3 }, options).Timesteps);
        Assert.Equal([1000, 500], Sampler.Plan(Flow with { ClassName = "FlowMatchLCMScheduler", Shift = 3 }, options).Timesteps);
    }

    [Fact]
    public void Levels_are_stretched_to_their_terminal_and_inverted()
    {
        Assert.Equal(0.1, Sampler.Plan(Flow with { ShiftTerminal = 0.1 }, new SamplerOptions { Steps = 5 }).Sigmas![4], 1e-12);
        var rising = Sampler.Plan(Flow with { InvertSigmas = true }, new SamplerOptions { Sigmas = [1, 0.75, 0] });
        Assert.Equal([0, 0.25, 1], rising.Sigmas!);
        Assert.Equal((-0.25, 0.25), (rising.Evaluations[0].D, rising.Evaluations[0].E));
    }

    [Theory]
    [InlineData("Euler", "flow-euler")]
    [InlineData("heun", "flow-heun")]
    [InlineData("lcm", "flow-lcm")]
    [InlineData("unipc", "unipc")]
    [InlineData("DPM++ 2M", "dpmpp_2m")]
    public void A_name_that_every_family_has_is_rectified_flow_on_its_models(string typed, string name)
    {
        var plan = Sampler.Plan(Flow, new SamplerOptions { Steps = 8 }, typed);
        Assert.Equal(name, plan.Name);
        Assert.All(plan.Evaluations, e => Assert.Equal(1, e.Alpha + e.Sigma, 1e-12));
    }

    [Fact]
    public void A_sampler_of_betas_is_refused_on_rectified_flow() =>
        Assert.Contains("flow-euler, flow-heun, flow-lcm", Assert.Throws<UsageException>(() => Sampler.Plan(Flow, new SamplerOptions { Steps = 8 }, "ddim")).Message, StringComparison.Ordinal);
}
