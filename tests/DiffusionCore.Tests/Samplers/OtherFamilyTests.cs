using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Samplers with their own noise, networks or inputs: EDM, CogVideoX, unCLIP, the score SDE, RePaint.</summary>
public sealed class OtherFamilyTests
{
    private static readonly SchedulerConfig Three = new() { TrainSteps = 3, TrainedBetas = [0.1, 0.2, 0.3] };

    [Fact]
    public void Edm_preconditions_the_network()
    {
        var plan = Sampler.Plan(new SchedulerConfig { ClassName = "EDMEulerScheduler" }, new SamplerOptions { Sigmas = [2, 1, 0] });
        var first = plan.Evaluations[0];
        Assert.Equal(Math.Log(2) / 4, first.Time, 1e-7);
        Assert.Equal(1 / Math.Sqrt(4.25), first.InputScale, 1e-12);
        Assert.Equal((0.25 / 4.25, 1 / Math.Sqrt(4.25)), (first.Reading!.Value.A0, first.Reading.Value.B0), (a, b) => Math.Abs(a.Item1 - b.Item1) + Math.Abs(a.Item2 - b.Item2) < 1e-12);
        Assert.Equal((0.5, 0.5), (first.X, first.D));
        Assert.Equal(Math.Sqrt(6401), plan.InitialSigma, 1e-9);
        Assert.Equal(-1 / Math.Sqrt(4.25), Sampler.Plan(new SchedulerConfig { Prediction = Prediction.V }, new SamplerOptions { Sigmas = [2, 1, 0] }, "edm-euler").Evaluations[0].Reading!.Value.B0, 1e-12);
    }

    [Fact]
    public void Edm_with_churn_reads_the_network_at_the_raised_level()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Sigmas = [4, 2, 0], Churn = 0.5, ChurnNoise = 1.1 }, "edm-euler");
        const double X = 3, M = 0.4, Z = 0.7, Raised = 5;                              // gamma = 0.5/2
        double x = 0, hat = X + Z * 1.1 * 3, denoised = 0.25 / 25.25 * hat + 5 * 0.5 / Math.Sqrt(25.25) * M;
        HostSampler.Run(plan with { Evaluations = [plan.Evaluations[0]] }, [X], (_, _) => [M], z => z[0] = Z, after: (_, v) => x = v[0]);
        Assert.Equal(hat + (hat - denoised) / Raised * (2 - Raised), x, 1e-12);
    }

    [Theory]
    [InlineData("euler", "edm-euler")]
    [InlineData("dpmpp_2m", "edm-dpm")]
    public void A_name_that_every_family_has_is_preconditioned_on_edm_models(string typed, string name) =>
        Assert.Equal(name, Sampler.Plan(new SchedulerConfig { ClassName = "EDMEulerScheduler" }, new SamplerOptions { Steps = 8 }, typed).Name);

    [Fact]
    public void CogVideoX_lowers_the_signal_and_ends_without()
    {
        var config = new SchedulerConfig { BetaStart = 0.00085, BetaEnd = 0.012, BetaSchedule = "scaled_linear", Prediction = Prediction.V, Spacing = "trailing" };
        var plan = Sampler.Plan(config, new SamplerOptions { Steps = 10 }, "cogvideox-ddim");
        double bar = NoiseSchedule.Build(config, finiteSigmas: false).AlphaBar[999];
        Assert.Equal(1, plan.Evaluations[0].Alpha * plan.Evaluations[0].Alpha / (bar / (3 - 2 * bar)), 1e-5);
        var first = Sampler.Plan(config with { ZeroTerminalSnr = true }, new SamplerOptions { Steps = 10 }, "cogvideox-ddim").Evaluations[0];
        Assert.Equal(0, first.Alpha, 1e-12);
        Assert.Equal(1, first.X * first.X + first.D * first.D, 1e-9);                  // sqrt(1 - bar) of the noise, sqrt(bar) of denoised
    }

    [Fact]
    public void CogVideoX_dpm_draws_twice_where_it_extrapolates()
    {
        var plan = Sampler.Plan(new SchedulerConfig { Prediction = Prediction.V, Spacing = "trailing" }, new SamplerOptions { Steps = 5 }, "CogVideoXDPMScheduler");
        Assert.Equal([0, 1, 1, 1, 0], plan.Evaluations.Select(e => e.UnusedDraws));
        Assert.All(plan.Evaluations, e => Assert.True(e.DrawsNoise));
        var second = plan.Evaluations[1];
        Assert.True(second.D > 0 && second.History.Single().Coefficient < 0);
    }

    [Fact]
    public void UnClip_is_the_posterior_between_two_timesteps()
    {
        var first = Sampler.Plan(Three, new SamplerOptions { Steps = 2 }, "unclip").Evaluations[0];
        double beta = 1 - 0.504 / 0.9;                                                 // from step 2 to step 0
        Assert.Equal(Math.Sqrt(0.9) * beta / 0.496, first.D, 1e-6);
        Assert.Equal(Math.Sqrt(1 - beta) * 0.1 / 0.496, first.X, 1e-6);
        Assert.Equal(Math.Sqrt(0.1 / 0.496 * beta), first.N, 1e-6);
        Assert.Equal(Math.Sqrt(0.28 / 0.496 * 0.3), Sampler.Plan(Three, new SamplerOptions { Steps = 2, SingleTrainingSteps = true }, "unclip").Evaluations[0].N, 1e-6);
        var learned = Sampler.Plan(Three with { VarianceType = "learned_range" }, new SamplerOptions { Steps = 2 }, "unclip").Evaluations;
        Assert.Equal(Math.Log(beta), learned[0].LearnedVariance!.Value.Maximum, 1e-6);
        Assert.Null(learned[1].LearnedVariance);
    }

    [Fact]
    public void Langevin_steps_take_their_size_from_the_norms()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 2 }, "score-sde-ve");
        Assert.Equal([1348, 1348], plan.Evaluations.Take(2).Select(e => Math.Round(e.Time, 9)));
        double[] x = [];
        HostSampler.Run(plan with { Evaluations = [plan.Evaluations[0]] }, [1, 2], (_, _) => [3, 4], z => (z[0], z[1]) = (6, 8), after: (_, v) => x = v);
        const double Size = 2 * 0.15 * 0.15 * 4;                                       // |z|/|score| = 2
        Assert.Equal([1 + Size * 3 + Math.Sqrt(2 * Size) * 6, 2 + Size * 4 + Math.Sqrt(2 * Size) * 8], x, (a, b) => Math.Abs(a - b) < 1e-12);
        var predictor = plan.Evaluations[1];
        Assert.Equal(1348 * 1348 - 0.01 * 0.01, predictor.E, 1e-6);
        Assert.Equal(Math.Sqrt(predictor.E), predictor.N, 1e-12);
    }

    [Fact]
    public void Langevin_norms_are_of_each_image_unless_asked_otherwise()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 2 }, "score-sde-ve");
        double One(bool batch)
        {
            double x = 0;
            HostSampler.Run(plan with { Evaluations = [plan.Evaluations[0]], BatchNorms = batch }, [0, 0], (_, _) => [1, 3], z => (z[0], z[1]) = (2, 2), 2, (_, v) => x = v[0]);
            return x;
        }

        Assert.Equal(2 * 0.09 + Math.Sqrt(2 * 2 * 0.09) * 2, One(false), 1e-12);       // 2/1
        Assert.Equal(2 * 0.0225 + Math.Sqrt(2 * 2 * 0.0225) * 2, One(true), 1e-12);    // mean 2 over mean 2
    }

    [Fact]
    public void RePaint_jumps_back_and_keeps_the_given_part()
    {
        var config = new SchedulerConfig { TrainSteps = 8 };
        var plan = Sampler.Plan(config, new SamplerOptions { Steps = 4, JumpLength = 2, JumpSamples = 2 }, "repaint");
        Assert.Equal([6, 4, 2, 0, 2, 4, 2, 0], plan.Timesteps);
        Assert.Equal(6 + 2 * 2, plan.Evaluations.Count);                               // a step up is two training steps without a network
        Assert.Equal(4, plan.Evaluations.Count(e => !e.Evaluates));
        double[] bar = NoiseSchedule.Build(config, finiteSigmas: false).AlphaBar;
        double[] x = [];
        HostSampler.Run(plan with { Evaluations = [plan.Evaluations[0]] }, [1, 1], (_, _) => [0.2, 0.2], z => (z[0], z[1]) = (0.5, 0.5), after: (_, v) => x = v, known: [0.3, 0.3], mask: [1, 0]);
        double denoised = Math.Min(1, (1 - Math.Sqrt(1 - bar[6]) * 0.2) / Math.Sqrt(bar[6]));
        Assert.Equal(Math.Sqrt(bar[4]) * 0.3 + Math.Sqrt(1 - bar[4]) * 0.5, x[0], 1e-12);
        Assert.Equal(Math.Sqrt(bar[4]) * denoised + Math.Sqrt(1 - bar[4]) * 0.2, x[1], 1e-12);
    }
}
