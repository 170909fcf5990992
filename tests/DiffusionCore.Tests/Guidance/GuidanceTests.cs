using DiffusionCore.Guidance;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Tests.Samplers;

namespace DiffusionCore.Tests.Guidance;

/// <summary>Guidance against its formulas, and as rules of a plan.</summary>
public sealed class GuidanceTests
{
    private static readonly double[] C = [0.9, -0.4, 1.7, 0.2, -1.1], U = [0.3, -0.1, 0.8, 0.5, -0.2];

    [Fact]
    public void Rescaling_brings_back_the_deviation_of_the_conditional_branch()
    {
        var guided = new double[5];
        GuidanceMath.Rescaled(C, U, 7.5, 1, guided);
        Assert.Equal(Moments.Of(C).Variance, Moments.Of(guided).Variance, 1e-12);
        var plain = new double[5];
        GuidanceMath.Plain(C, U, 7.5, plain);
        Assert.Equal(0.3 + 7.5 * 0.6, plain[0], 1e-12);
        GuidanceMath.Rescaled(C, U, 7.5, 0, guided);
        Assert.Equal(plain, guided);
        GuidanceMath.Rescaled(C, U, 7.5, 0.7, guided);
        double factor = 0.7 * Math.Sqrt(Moments.Of(C).Variance / Moments.Of(plain).Variance) + 0.3;
        Assert.Equal(plain[3] * factor, guided[3], 1e-12);
    }

    [Fact]
    public void Moments_of_the_guided_prediction_follow_from_the_branches()
    {
        var plain = new double[5];
        GuidanceMath.Plain(C, U, 4, plain);
        Moments expected = Moments.Of(plain), found = GuidanceMath.Guided(Moments.Of(C), Moments.Of(U), Moments.Covariance(C, U), 4);
        Assert.Equal(expected.Mean, found.Mean, 1e-12);
        Assert.Equal(expected.Variance, found.Variance, 1e-12);
        Assert.Equal(1, GuidanceMath.RescaleFactor(new(0, 1), new(0, 0), 0.7));
    }

    [Fact]
    public void Projection_leaves_what_lies_across_the_estimate()
    {
        double[] running = new double[5], guided = new double[5];
        new ProjectedGuidance().Guide(C, U, 6, running, guided);
        double dot = C.Zip(running, (c, d) => c * d).Sum(), square = C.Sum(c => c * c);
        double[] across = [.. running.Select((d, i) => d - dot / square * C[i])];
        Assert.Equal(0, across.Zip(C, (a, c) => a * c).Sum(), 1e-12);
        for (int i = 0; i < 5; i++) Assert.Equal(C[i] + 5 * across[i], guided[i], 1e-12);

        // With all of the parallel part it is plain guidance.
        double[] plain = new double[5];
        new ProjectedGuidance(Parallel: 1).Guide(C, U, 6, new double[5], guided);
        GuidanceMath.Plain(C, U, 6, plain);
        for (int i = 0; i < 5; i++) Assert.Equal(plain[i], guided[i], 1e-12);
    }

    [Fact]
    public void The_threshold_bounds_the_difference_and_momentum_remembers_it()
    {
        double[] guided = new double[5], running = new double[5];
        new ProjectedGuidance(Threshold: 0.5, Parallel: 1).Guide(C, U, 3, running, guided);
        Assert.Equal(2 * 0.5, Math.Sqrt(guided.Select((g, i) => (g - C[i]) * (g - C[i])).Sum()), 1e-12);
        new ProjectedGuidance(Threshold: 100, Parallel: 1).Guide(C, U, 3, new double[5], guided);
        Assert.Equal(C[0] + 2 * 0.6, guided[0], 1e-12);

        running = new double[5];
        var apg = new ProjectedGuidance(Momentum: -0.5, Parallel: 1);
        apg.Guide(C, U, 3, running, guided);
        apg.Guide(C, U, 3, running, guided);
        Assert.Equal(0.6 - 0.5 * 0.6, running[0], 1e-12);
        Assert.Equal(C[0] + 2 * 0.3, guided[0], 1e-12);
    }

    [Fact]
    public void Dynamic_thresholds_follow_the_quantile()
    {
        double[] x = [-4, 3, 2, 1, 0];
        Assert.Equal(3, GuidanceMath.Threshold(x, 0.75, 100), 1e-12);
        Assert.Equal(3.5, GuidanceMath.Threshold(x, 0.875, 100), 1e-12);
        Assert.Equal(2.5, GuidanceMath.Threshold(x, 1, 2.5));
        Assert.Equal(1, GuidanceMath.Threshold([0.1, 0.2], 1, 100));
    }

    [Fact]
    public void Cfg_plus_plus_is_a_step_with_a_larger_scale()
    {
        double sigma = 3, next = 1, x = 4, w = 0.6, guided = U[0] + w * (C[0] - U[0]), expected = guided + next / sigma * (x - U[0]);
        double other = GuidanceMath.PlusPlusScale(w, sigma, next), estimate = U[0] + other * (C[0] - U[0]);
        Assert.Equal(expected, next / sigma * x + (1 - next / sigma) * estimate, 1e-12);
        Assert.Throws<UsageException>(() => GuidanceMath.PlusPlusScale(w, 1, 1));
    }

    [Fact]
    public void Scales_by_step_and_intervals_become_rules_of_the_plan()
    {
        var plan = KSampler.Plan("euler", GaussianWorld.Levels([8, 4, 2, 1, 0]));
        var guided = new GuidanceOptions { Scales = [7, 5], Interval = (1.5, 5) }.Apply(plan);
        Assert.Equal([1, 5, 5, 1], guided.Evaluations.Select(e => e.Guidance!.Value.Of(99)));
        Assert.True(guided.NeedsUnconditional);
        Assert.False(new GuidanceOptions { Scale = 1 }.Apply(plan).NeedsUnconditional);
        Assert.Equal([2, 2, 2, 2], new GuidanceOptions { Scale = 2 }.Apply(plan).Evaluations.Select(e => e.Guidance!.Value.Of(1)));

        // The run is that of the network guided by hand at each level.
        double Cond(double x, double s) => Math.Tanh(x / (1 + s));
        double Uncond(double x, double s) => 0.3 * Math.Tanh(x);
        double a = HostSampler.Run(guided, [9], (x, s) => [Cond(x[0], s)], unconditional: (x, s) => [Uncond(x[0], s)], guidance: 3)[0];
        double b = HostSampler.Run(plan, [9], (x, s) => [Uncond(x[0], s) + (s is 4 or 2 ? 5 : 1) * (Cond(x[0], s) - Uncond(x[0], s))])[0];
        Assert.Equal(b, a, 1e-12);
    }

    [Fact]
    public void Rules_of_cfg_plus_plus_apply_to_the_scale_of_the_step()
    {
        var plan = KSampler.Plan("euler_cfg_pp", GaussianWorld.Levels([4, 2, 1]));
        var guided = new GuidanceOptions { Scales = [0.6, 0.8] }.Apply(plan);
        Assert.Equal([1.2, 1.6], guided.Evaluations.Select(e => Math.Round(e.Guidance!.Value.Of(99), 12)));
    }

    [Fact]
    public void Bad_input_is_refused()
    {
        Refused("guidance interval: expected 0 <= low <= high, found 5 to 1", new GuidanceOptions { Interval = (5, 1) });
        Refused("guidance interval", new GuidanceOptions { Interval = (-1, 1) });
        Refused("guidance rescale: expected a number from 0 to 1, found 1.5", new GuidanceOptions { Rescale = 1.5 });
        Refused("guidance: expected a finite number", new GuidanceOptions { Scale = double.NaN });
        Refused("guidance[1]: expected a finite number", new GuidanceOptions { Scales = [1, double.PositiveInfinity] });
        Refused("list of scales is empty", new GuidanceOptions { Scales = [] });
        Refused("apg threshold", new GuidanceOptions { Projected = new ProjectedGuidance(Threshold: -1) });
        Refused("apg momentum", new GuidanceOptions { Projected = new ProjectedGuidance(Momentum: 1) });
        Assert.Contains("threshold ratio", Assert.Throws<UsageException>(() => GuidanceMath.Threshold([1], 0, 1)).Message, StringComparison.Ordinal);
        Assert.Contains("need a fixed schedule", Assert.Throws<UsageException>(() => new GuidanceOptions { Interval = (1, 2) }.Apply(KSampler.Plan("rk45", GaussianWorld.Levels([4, 1])))).Message, StringComparison.Ordinal);

        static void Refused(string problem, GuidanceOptions options)
        {
            string message = Assert.Throws<UsageException>(options.Check).Message;
            Assert.Contains(problem, message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
        }
    }
}
