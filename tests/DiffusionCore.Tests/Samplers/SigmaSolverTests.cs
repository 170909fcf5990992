using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Solvers on x = x0 + sigma*eps, one step of each worked by hand on the noise levels 4, 2, 1.</summary>
public sealed class SigmaSolverTests
{
    private static readonly SamplerOptions Levels = new() { Sigmas = [4, 2, 1, 0] };

    [Fact]
    public void Lms_integrates_the_line_through_two_estimates()
    {
        var second = Sampler.Plan(new SchedulerConfig(), Levels, "lms").Evaluations[1];
        Assert.Equal(1, second.X);
        Assert.Equal(-1.25, second.E, 1e-12);                              // integral of (4 - s)/2 from 2 to 1
        Assert.Equal(0.25, second.History.Single().Coefficient, 1e-12);    // integral of (s - 2)/2
        Assert.Equal(Kept.Epsilon, second.Keep);
    }

    [Fact]
    public void Lms_of_first_order_is_euler()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), Levels with { Order = 1 }, "lms");
        Assert.Equal([-2, -1, -1], plan.Evaluations.Select(e => e.E));
        Assert.All(plan.Evaluations, e => Assert.Empty(e.History));
    }

    [Fact]
    public void Euler_ancestral_steps_below_the_next_level_and_adds_noise()
    {
        var first = Sampler.Plan(new SchedulerConfig(), Levels, "euler_ancestral").Evaluations[0];
        Assert.Equal(Math.Sqrt(3), first.N, 1e-6);                         // 4*(16 - 4)/16
        Assert.Equal((0.25, 0.75), (Math.Round(first.X, 6), Math.Round(first.D, 6)));
        var last = Sampler.Plan(new SchedulerConfig(), Levels, "euler_ancestral").Evaluations[2];
        Assert.Equal((0, 1, 0, true), (last.X, last.D, last.N, last.DrawsNoise));
    }

    [Fact]
    public void Kdpm2_takes_the_slope_at_the_geometric_mean()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Sigmas = [4, 1, 0] }, "kdpm2");
        Assert.Equal([4, 2, 1], plan.Evaluations.Select(e => Math.Round(e.Sigma, 6)));
        var (first, second) = (plan.Evaluations[0], plan.Evaluations[1]);
        Assert.Equal((0.5, 0.5), (Math.Round(first.X, 6), Math.Round(first.D, 6)));
        Assert.Equal(Kept.Sample, first.Keep);
        Assert.Equal((-1.5, 1.5), (Math.Round(second.X, 6), Math.Round(second.D, 6)));
        Assert.Equal(new HistoryTerm(first.KeepSlot, 1), second.History.Single());
    }

    [Fact]
    public void The_sde_solver_takes_both_noises_from_the_start_of_the_step()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Sigmas = [4, 1, 0] }, "DPMSolverSDEScheduler");
        var (first, second, last) = (plan.Evaluations[0], plan.Evaluations[1], plan.Evaluations[2]);
        Assert.Equal(0.25, first.X, 1e-6);                                 // 4 to 2: down 1, up sqrt(3)
        Assert.Equal(Math.Sqrt(3), first.N, 1e-6);
        Assert.Equal(2, second.Sigma, 1e-12);
        Assert.Equal(0, second.X);
        Assert.Equal(0.9375, second.D, 1e-6);                              // 4 to 1: down 1/4, up sqrt(15)/4
        Assert.Equal(0.0625, second.History.Single().Coefficient, 1e-6);
        Assert.Equal(Math.Sqrt(15) / 4, second.N, 1e-6);
        Assert.Equal([(4.0, 2.0), (4.0, 1.0)], plan.Evaluations.Take(2).Select(e => (e.NoiseInterval!.Value.From, Math.Round(e.NoiseInterval.Value.To, 12))));
        Assert.Equal((0, 1, 0), (last.X, last.D, last.N));
    }

    [Fact]
    public void Kdpm2_ancestral_aims_below_the_next_level()
    {
        var second = Sampler.Plan(new SchedulerConfig(), Levels, "kdpm2_ancestral").Evaluations[1];
        Assert.Equal(2, second.Sigma, 1e-6);                               // between 4 and the level 1 that noise lifts to 2
        Assert.Equal(-1.5, second.X, 1e-6);
        Assert.Equal(Math.Sqrt(3), second.N, 1e-6);
    }
}
