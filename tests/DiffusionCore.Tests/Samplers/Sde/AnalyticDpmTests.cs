using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Sde;

namespace DiffusionCore.Tests.Samplers.Sde;

/// <summary>The optimal variance makes the moments of a normal distribution exact with any number of steps, where DDPM's own does not.</summary>
public sealed class AnalyticDpmTests
{
    private const double DataVariance = 0.3;

    [Theory]
    [InlineData(3, true)]
    [InlineData(10, true)]
    [InlineData(3, false)]
    [InlineData(10, false)]
    public void Moments_are_exact_with_any_number_of_steps(int steps, bool posterior)
    {
        // alpha-bar from nearly nothing to nearly one; the run ends at its last value, so the last step adds its noise as well.
        double[] bar = [.. Enumerable.Range(0, steps + 1).Select(i => Math.Pow(1e-3, 1 - (double)i / (steps + 1)))];
        double[] gamma = [.. bar[..^1].Select(b => (1 - b) / (b * DataVariance + 1 - b))];
        var plan = AnalyticDpm.Plan(bar, [.. Enumerable.Range(0, steps).Select(i => (double)i)], gamma, posterior, Prediction.Epsilon);
        double variance = bar[0] * DataVariance + 1 - bar[0];
        for (int i = 0; i < steps; i++)
        {
            // eps is linear in x: the whole step is x' = slope x + N z.
            var e = plan.Evaluations[i];
            double eps = e.Sigma / (bar[i] * DataVariance + 1 - bar[i]), slope = e.D * (1 - e.Sigma * eps) / e.Alpha + e.E * eps;
            Assert.Equal(i == steps - 1, e.N == 0);
            variance = slope * slope * variance + e.N * e.N;
            // Theorem 1 is about the variance of the whole; the last step here has none of its own.
            if (i < steps - 1) Assert.Equal(bar[i + 1] * DataVariance + 1 - bar[i + 1], variance, 1e-10);
        }
    }

    [Fact]
    public void Statistics_that_say_nothing_leave_the_family_as_it_is()
    {
        var plan = AnalyticDpm.Plan([0.1, 0.5, 1], [9, 4], [1, 1], posterior: true, Prediction.Epsilon);
        Assert.Equal(Math.Sqrt(0.5 / 0.9 * (1 - 0.2)), plan.Evaluations[0].N, 1e-12);  // the posterior's own variance
        Assert.Equal(0, AnalyticDpm.Plan([0.1, 0.5, 1], [9, 4], [1, 1], posterior: false, Prediction.Epsilon).Evaluations[0].N, 1e-12);
        Assert.Equal((9, 4), (plan.Evaluations[0].Time, plan.Evaluations[1].Time));
        double[] end = HostSampler.Run(plan, [5], (_, _) => [0], z => z[0] = 0);
        Assert.Equal(5 / Math.Sqrt(0.1), end[0], 1e-12);
    }

    [Fact]
    public void The_statistic_is_the_mean_square() => Assert.Equal((0.25, 1), (AnalyticDpm.Statistic([0.5, -0.5]), AnalyticDpm.Statistic([3, 3])));

    [Theory]
    [InlineData(new[] { 0.5, 0.1 }, new[] { 1.0 }, new[] { 0.5 }, "alpha-bar[1]")]
    [InlineData(new[] { 0.1, 0.5 }, new[] { 1.0 }, new[] { 1.5 }, "statistic[0]")]
    [InlineData(new[] { 0.1, 0.5 }, new[] { 1.0, 2 }, new[] { 0.5 }, "for 1 steps")]
    public void Bad_input_is_refused(double[] bar, double[] times, double[] gamma, string problem) =>
        Assert.Contains(problem, Assert.Throws<UsageException>(() => AnalyticDpm.Plan(bar, times, gamma, true, Prediction.Epsilon)).Message, StringComparison.Ordinal);
}
