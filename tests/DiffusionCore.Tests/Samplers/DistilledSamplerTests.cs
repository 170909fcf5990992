using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Samplers of distilled and consistency models, one step of each worked by hand.</summary>
public sealed class DistilledSamplerTests
{
    private static readonly SchedulerConfig Three = new() { TrainSteps = 3, TrainedBetas = [0.1, 0.2, 0.3], OriginalSteps = 3 };

    [Fact]
    public void Lcm_denoises_with_its_boundary_condition_and_draws_anew()
    {
        var plan = Sampler.Plan(Three, new SamplerOptions { Steps = 3 }, "lcm");
        Assert.Equal([2, 1, 0], plan.Timesteps);
        var first = plan.Evaluations[0];
        Assert.Equal(Math.Sqrt(0.72) * 20 / Math.Sqrt(400.25), first.D, 1e-6);         // scaled time 2*10, data 0.5
        Assert.Equal(Math.Sqrt(0.72) * 0.25 / 400.25, first.X, 1e-6);
        Assert.Equal(Math.Sqrt(0.28), first.N, 1e-6);
        Assert.Equal((0, 1, false), (plan.Evaluations[2].D, plan.Evaluations[2].X, plan.Evaluations[2].DrawsNoise));    // at time 0 the latent is the image
    }

    [Fact]
    public void Steps_of_a_distilled_model_lie_on_those_of_the_distillation()
    {
        Assert.Equal([999, 759, 499, 259], Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 4 }, "lcm").Timesteps);
        Assert.Contains("distilled", Assert.Throws<UsageException>(() => Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 51 }, "tcd")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tcd_steps_past_the_next_level_and_comes_back_with_noise()
    {
        var first = Sampler.Plan(Three, new SamplerOptions { Steps = 3 }, "tcd").Evaluations[0];
        // eta 0.3: from step 2 to floor(0.7*1) = 0, alpha-bar 0.9, then to step 1, 0.72.
        Assert.Equal(Math.Sqrt(0.72), first.D, 1e-6);
        Assert.Equal(Math.Sqrt(0.72 / 0.9 * 0.1), first.E, 1e-6);
        Assert.Equal(Math.Sqrt(0.2), first.N, 1e-6);
        var sure = Sampler.Plan(Three, new SamplerOptions { Steps = 3, Eta = 0 }, "tcd").Evaluations[0];
        Assert.Equal((Math.Sqrt(0.28), 0.0, false), (sure.E, sure.N, sure.DrawsNoise), (a, b) => Math.Abs(a.Item1 - b.Item1) < 1e-6 && a.Item2 == b.Item2 && a.Item3 == b.Item3);
    }

    [Fact]
    public void Consistency_models_are_exact_at_the_least_level()
    {
        var plan = Sampler.Plan(new SchedulerConfig { TrainSteps = 40 }, new SamplerOptions { Timesteps = [39, 0] }, "cm");
        Assert.Equal(80, plan.InitialSigma);
        Assert.Equal([80, 0.002, 0.002], plan.Sigmas!.Select(s => Math.Round(s, 9)));
        var (first, last) = (plan.Evaluations[0], plan.Evaluations[1]);
        Assert.Equal(250 * Math.Log(80), first.Time, 1e-9);
        Assert.Equal(1 / Math.Sqrt(6400.25), first.InputScale, 1e-12);
        Assert.Equal(79.998 * 0.5 / Math.Sqrt(6400.25), first.Reading!.Value.B0, 1e-9);
        Assert.Equal((1.0, 0.0), (last.Reading!.Value.A0, last.Reading.Value.B0), (a, b) => Math.Abs(a.Item1 - b.Item1) < 1e-9 && Math.Abs(a.Item2 - b.Item2) < 1e-9);
        Assert.Equal(1, plan.Clip);
    }
}
