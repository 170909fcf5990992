using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Ode;

namespace DiffusionCore.Tests.Samplers.Ode;

/// <summary>The adaptive pair of orders 5 and 4: its tableau, its tolerance, and the run as a plan.</summary>
public sealed class ProbabilityFlowTests
{
    [Theory]
    [InlineData(1e-3)]
    [InlineData(1e-6)]
    [InlineData(1e-9)]
    public void The_error_follows_the_tolerance(double tolerance)
    {
        int slopes = 0;
        var (y, counted) = DormandPrince.Solve(
            (t, v, slope) =>
            {
                slopes++;
                slope[0] = -2 * t * v[0];
                slope[1] = v[0];
            },
            [1, 0], 0, 3, tolerance, tolerance);
        Assert.Equal(slopes, counted);
        Assert.Equal(Math.Exp(-9), y[0], 30 * tolerance);
        Assert.Equal(0.88620734825952134, y[1], 30 * tolerance);                       // sqrt(pi)/2 erf(3)
    }

    [Fact]
    public void It_integrates_backwards_and_over_nothing()
    {
        Assert.Equal(Math.Exp(-2), DormandPrince.Solve((_, v, s) => s[0] = v[0], [1], 2, 0, 1e-9, 1e-9).Y[0], 1e-8);
        Assert.Equal(5, DormandPrince.Solve((_, v, s) => s[0] = v[0], [5], 2, 2).Y[0]);
    }

    [Theory]
    [InlineData(1e-3)]
    [InlineData(1e-5)]
    [InlineData(1e-8)]
    public void The_run_meets_the_path_of_a_mixture(double tolerance)
    {
        var levels = GaussianWorld.Levels([10, 0.1]);
        var plan = KSampler.Plan("rk45", levels, new KOptions { RelativeTolerance = tolerance, AbsoluteTolerance = tolerance });
        double[] start = [-13, -2, 4, 17];
        int calls = 0;
        double[] end = HostSampler.Run(plan, start, (x, sigma) =>
        {
            calls++;
            return Array.ConvertAll(x, v => GaussianWorld.DenoiseMixture(v, sigma));
        });
        for (int i = 0; i < start.Length; i++) Assert.Equal(GaussianWorld.ExactMixture(start[i], 10, 0.1), end[i], 20 * tolerance + 1e-10);

        // The same numbers as the solver on arrays.
        var (direct, slopes) = DormandPrince.Solve(
            (t, v, slope) =>
            {
                for (int i = 0; i < v.Length; i++) slope[i] = v[i] - GaussianWorld.DenoiseMixture(v[i], Math.Exp(t));
            },
            start, Math.Log(10), Math.Log(0.1), tolerance, tolerance);
        Assert.Equal(slopes, calls);
        for (int i = 0; i < start.Length; i++) Assert.Equal(direct[i], end[i], 1e-12);
    }

    [Fact]
    public void A_schedule_to_zero_ends_on_the_estimate()
    {
        double[] end = HostSampler.Run(KSampler.Plan("rk45", GaussianWorld.Levels([10, 0.1, 0])), [7], (_, _) => [0.37]);
        Assert.Equal(0.37, end[0], 1e-12);
    }

    [Fact]
    public void A_step_that_is_too_long_is_taken_back()
    {
        // A network with a sudden change: steps over it must be rejected and the result must not depend on what was tried.
        double[] Network(double[] x, double sigma) => [Math.Tanh((sigma - 2) / 0.01)];
        var plan = KSampler.Plan("rk45", GaussianWorld.Levels([10, 0.1]), new KOptions { RelativeTolerance = 1e-7, AbsoluteTolerance = 1e-7 });
        var steps = new List<Evaluation>();
        double[] end = HostSampler.Run(plan, [3], Network, after: (e, _) => steps.Add(e));
        int tried = steps.Count(e => e.Measure is not null) - 3, taken = steps.Max(e => e.Step);
        Assert.True(tried > taken, $"{tried} tried, {taken} taken");
        // x = sigma (x0/10 + int D/s^2 ds) from sigma to 10, with D = 1 above 2 and -1 below.
        Assert.Equal(0.1 * (0.3 + (0.5 - 0.1) - (10 - 0.5)), end[0], 1e-3);
    }

    [Fact]
    public void Bad_tolerances_are_refused() =>
        Assert.Contains("atol: expected", Assert.Throws<UsageException>(() => KSampler.Plan("rk45", GaussianWorld.Levels([10, 0.1]), new KOptions { AbsoluteTolerance = 0 })).Message, StringComparison.Ordinal);
}
