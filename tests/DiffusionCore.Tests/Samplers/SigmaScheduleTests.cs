using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

public sealed class SigmaScheduleTests
{
    [Theory]
    [InlineData("karras")]
    [InlineData("exponential")]
    [InlineData("beta")]
    [InlineData("lu")]
    public void Levels_fall_from_the_largest_to_the_smallest(string name)
    {
        foreach (int n in (int[])[2, 3, 17, 100])
        {
            double[] levels = SigmaSchedule.Build(name, 0.03, 14.6, n);
            Assert.Equal(n, levels.Length);
            Assert.Equal(14.6, levels[0], 1e-12);
            Assert.Equal(0.03, levels[^1], 1e-12);
            for (int i = 1; i < n; i++) Assert.True(levels[i] < levels[i - 1]);
        }
    }

    [Fact]
    public void Karras_is_even_in_the_seventh_root()
    {
        double[] levels = SigmaSchedule.Karras(1, 128, 3);                                     // roots 1, 1.5, 2
        Assert.Equal(Math.Pow(1.5, 7), levels[1], 1e-12);
    }

    [Theory]
    [InlineData(0.5, 0.5)]
    [InlineData(0.25, 0.175680)]                                                              // by numerical integration of x^-0.4 (1-x)^-0.4
    [InlineData(0.75, 0.824320)]
    [InlineData(0, 0)]
    [InlineData(1, 1)]
    public void Quantiles_of_the_beta_distribution(double p, double x) => Assert.Equal(x, SigmaSchedule.BetaQuantile(p, 0.6, 0.6), 1e-5);

    [Fact]
    public void Quantiles_invert_closed_forms()
    {
        Assert.Equal(0.3, SigmaSchedule.BetaQuantile(0.09, 2, 1), 1e-12);                      // I_x(2, 1) = x^2
        double half = Math.Sin(Math.PI / 2 * 0.3);
        Assert.Equal(half * half, SigmaSchedule.BetaQuantile(0.3, 0.5, 0.5), 1e-12);           // arcsine law
    }
}
