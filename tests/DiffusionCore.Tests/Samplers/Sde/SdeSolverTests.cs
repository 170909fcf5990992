using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Sde;

namespace DiffusionCore.Tests.Samplers.Sde;

/// <summary>What SEEDS, ER-SDE, gDDIM and Restart are exact for, and the points at which they meet other samplers.</summary>
public sealed class SdeSolverTests
{
    private static readonly double[] Sigmas = SigmaSchedule.Exponential(0.1, 10, 6);

    /// <summary>Data in one point: the estimate is that point, and what is left must be exactly the noise of the last level.</summary>
    [Theory]
    [InlineData("seeds_2", null)]
    [InlineData("seeds_3", null)]
    [InlineData("seeds_3", 0.3)]
    [InlineData("er_sde", null)]
    [InlineData("gddim", 0.0)]
    [InlineData("gddim", 0.6)]
    [InlineData("gddim", 1.0)]
    [InlineData("euler_ancestral", null)]
    [InlineData("dpmpp_2m_sde", null)]
    public void The_marginals_of_a_point_are_exact(string name, double? eta)
    {
        var plan = KSampler.Plan(name, GaussianWorld.Levels(Sigmas), new KOptions { Eta = eta });
        var (mean, variance) = GaussianWorld.Moments(plan, 0.37, 0, 0.37, 100);
        Assert.Equal(0.37, mean, 1e-10);
        Assert.Equal(0.01, variance, 1e-10);
    }

    [Fact]
    public void Seeds_carries_the_noise_of_the_inner_stage()
    {
        // Half-way in ln sigma, eta = 1: damping 2^-1 * 2^-1 from the middle to the end, one factor for sigma and one for eta.
        var plan = KSampler.Plan("seeds_2", GaussianWorld.Levels([4, 1]));
        Assert.Equal(0.25, plan.Evaluations[1].X, 1e-12);
        Assert.Equal((4.0, 2.0), (plan.Evaluations[0].NoiseInterval!.Value.From, Math.Round(plan.Evaluations[0].NoiseInterval!.Value.To, 12)));
        Assert.Equal(2 * Math.Sqrt(0.75), plan.Evaluations[0].N, 1e-12);
    }

    [Fact]
    public void Without_noise_seeds_2_is_the_two_stage_solver()
    {
        double[] Network(double[] x, double sigma) => [GaussianWorld.DenoiseMixture(x[0], sigma)];
        var none = new KOptions { Eta = 0 };
        double seeds = HostSampler.Run(KSampler.Plan("seeds_2", GaussianWorld.Levels(Sigmas), none), [7], Network)[0];
        double twoStage = HostSampler.Run(KSampler.Plan("dpmpp_sde", GaussianWorld.Levels(Sigmas), none), [7], Network)[0];
        Assert.Equal(twoStage, seeds, 1e-12);
    }

    [Fact]
    public void Gddim_is_ddim_at_0_and_ancestral_at_1()
    {
        var levels = GaussianWorld.Levels([.. Sigmas, 0]);
        Same(KSampler.Plan("euler", levels), KSampler.Plan("gddim", levels));
        Same(KSampler.Plan("euler_ancestral", levels), KSampler.Plan("gddim", levels, new KOptions { Eta = 1 }));

        static void Same(SamplerPlan expected, SamplerPlan actual)
        {
            foreach (var (a, b) in expected.Evaluations.Zip(actual.Evaluations))
            {
                Assert.Equal(a.X, b.X, 1e-12);
                Assert.Equal(a.D, b.D, 1e-12);
                Assert.Equal(a.N, b.N, 1e-12);
            }
        }
    }

    /// <summary>The published sum of 200 points, which the integrals here replace.</summary>
    [Fact]
    public void Er_sde_agrees_with_the_authors_sums()
    {
        double[] s = [4, 2, 1.2, 0.7];
        var e = KSampler.Plan("er_sde", GaussianWorld.Levels(s)).Evaluations[2];
        double Phi(double v) => v * (Math.Exp(Math.Pow(v, 0.3)) + 10);
        const int Points = 20_000;
        double step = (s[2] - s[3]) / Points, one = 0, two = 0;
        for (int i = 0; i < Points; i++)
        {
            double at = s[3] + (i + 0.5) * step;
            one += step / Phi(at);
            two += step * (at - s[2]) / Phi(at);
        }

        double dt = s[3] - s[2], r = Phi(s[3]) / Phi(s[2]), first = dt + one * Phi(s[3]), second = dt * dt / 2 + two * Phi(s[3]);
        // Estimates 1, 2, 4 at levels 4, 2, 1.2.
        double d1 = (4.0 - 2) / (1.2 - 2), d1Last = (2.0 - 1) / (2 - 4), d2 = (d1 - d1Last) / ((1.2 - 4) / 2);
        double expected = (1 - r) * 4 + first * d1 + second * d2;
        Assert.Equal(expected, e.D * 4 + e.History[0].Coefficient * 2 + e.History[1].Coefficient * 1, 1e-8);
        Assert.Equal(Math.Sqrt(s[3] * s[3] - r * r * s[2] * s[2]), e.N, 1e-12);
    }

    [Fact]
    public void Restart_goes_back_and_down_again()
    {
        var levels = GaussianWorld.Levels([8, 4, 2, 1, 0.5, 0]);
        var plan = KSampler.Plan("restart", levels, new KOptions { Restarts = [new RestartInterval(1, 4, 3, 2)] });
        double[] seen = [.. plan.Evaluations.Where(e => e.Keep == Kept.Sample || e.Sigma == 0.5).Select(e => Math.Round(e.Sigma, 6))];
        double between = SigmaSchedule.Karras(1, 4, 3)[1];
        Assert.Equal([8, 4, 2, 4, Math.Round(between, 6), 4, Math.Round(between, 6), 1, 0.5, 0.5], seen);
        Assert.Equal(2, plan.Evaluations.Count(e => e.DrawsNoise));
        Assert.All(plan.Evaluations.Where(e => e.DrawsNoise), e => Assert.Equal(Math.Sqrt(15), e.N, 1e-12));
        // A point's marginal survives.
        var (mean, variance) = GaussianWorld.Moments(KSampler.Plan("restart", levels with { Sigmas = levels.Sigmas[..^1] }, new KOptions { Restarts = [new RestartInterval(1, 4, 3, 2)] }), 0.37, 0, 0.37, 64);
        Assert.Equal(0.37, mean, 1e-10);
        Assert.Equal(0.25, variance, 1e-10);
    }

    [Theory]
    [InlineData(19, 37)]
    [InlineData(20, 39)]
    [InlineData(40, 79)]
    public void Restart_chooses_intervals_by_the_number_of_steps(int steps, int evaluations)
    {
        var plan = KSampler.Plan("restart", GaussianWorld.Levels([.. SigmaSchedule.Karras(0.03, 14.6, steps), 0]));
        Assert.Equal(evaluations, plan.Evaluations.Count(e => e.Evaluates));
        Assert.Equal(steps < 20 ? 0 : steps < 36 ? 1 : 2, plan.Evaluations.Count(e => e.DrawsNoise));
    }

    [Fact]
    public void Bad_input_is_refused()
    {
        var levels = GaussianWorld.Levels(Sigmas);
        Refused("order: er_sde has orders 1 to 3, found 4", "er_sde", levels, new KOptions { Order = 4 });
        Refused("0 < low < high, found 4 to 1", "restart", levels, new KOptions { Restarts = [new RestartInterval(4, 1, 3, 1)] });
        Refused("2 or more levels", "restart", levels, new KOptions { Restarts = [new RestartInterval(1, 4, 1, 1)] });
        Refused("restart: euler has none", "euler", levels, new KOptions { Restarts = [] });
        Refused("gamma: euler has none", "euler", levels, new KOptions { Gamma = 2 });
        Refused("gamma: expected a number from 0 to 10", "gradient_estimation", levels, new KOptions { Gamma = 11 });
        Refused("order: lms has orders 1 to 8, found 9", "lms", levels, new KOptions { Order = 9 });
        Refused("order: dpm_adaptive has orders 2 and 3, found 4", "dpm_adaptive", levels, new KOptions { Order = 4 });
        Refused("order: heun has none", "heun", levels, new KOptions { Order = 2 });
        Refused("eta: heun is deterministic", "heun", levels, new KOptions { Eta = 1 });
        Refused("eta: dpmpp_2m is deterministic", "dpmpp_2m", levels, new KOptions { Eta = 0.5 });
        Refused("eta: expected", "euler_ancestral", levels, new KOptions { Eta = -1 });
        Refused("churn: dpmpp_2m has none", "dpmpp_2m", levels, new KOptions { Churn = 1 });
        Refused("churn: the least noise level 2 lies above the largest 1", "euler", levels, new KOptions { Churn = 1, ChurnMinimum = 2, ChurnMaximum = 1 });
        Refused("r: expected a number from 0.001 to 1, found 0", "dpmpp_sde", levels, new KOptions { R = 0 });
        Refused("sigmas[1]: 4 does not fall below 2", "euler", GaussianWorld.Levels([2, 4, 0]), new());
        Refused("sigmas[1]: 2 does not fall below 2", "euler", GaussianWorld.Levels([2, 2, 0]), new());
        Refused("sigmas[0]: expected a finite number", "euler", GaussianWorld.Levels([double.NaN, 0]), new());
        Refused("expected at least 2", "euler", GaussianWorld.Levels([1]), new());
        Refused("did you mean 'euler'", "eular", levels, new());

        static void Refused(string problem, string name, NoiseLevels levels, KOptions options)
        {
            string message = Assert.Throws<UsageException>(() => KSampler.Plan(name, levels, options)).Message;
            Assert.Contains(problem, message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
        }
    }
}
