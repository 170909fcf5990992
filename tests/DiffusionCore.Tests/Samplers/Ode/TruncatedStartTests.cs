using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Ode;

namespace DiffusionCore.Tests.Samplers.Ode;

/// <summary>Runs that begin within the schedule.</summary>
public sealed class TruncatedStartTests
{
    private static readonly NoiseLevels Levels = GaussianWorld.Levels([8, 4, 2, 1, 0]);

    [Fact]
    public void A_level_between_two_steps_becomes_the_first()
    {
        var cut = TruncatedStart.From(Levels, 3);
        Assert.Equal([3, 2, 1, 0], cut.Sigmas);
        Assert.Equal(1, KSampler.Plan("euler", cut).Evaluations[0].Step);
        Assert.Equal([2, 1, 0], TruncatedStart.From(Levels, 2).Sigmas);
        Assert.Equal(Levels.Sigmas, TruncatedStart.From(Levels, 8).Sigmas);
    }

    [Theory]
    [InlineData(1, 8)]
    [InlineData(0.5, 2)]
    [InlineData(0.74, 2)]
    [InlineData(0.01, 1)]
    public void A_strength_takes_the_last_steps(double strength, double first) => Assert.Equal(first, TruncatedStart.Last(Levels, strength).Sigmas[0]);

    [Fact]
    public void The_first_latent_has_the_noise_of_its_level() => Assert.Equal([1 + 3 * 0.5, -1 - 3 * 0.25], TruncatedStart.Latent(TruncatedStart.From(Levels, 3), [1, -1], [0.5, -0.25]));

    [Fact]
    public void Starts_outside_are_refused()
    {
        foreach (double sigma in (double[])[0.5, 1, 9, double.NaN])
            Assert.Contains("start: expected a noise level above 1 and up to 8", Assert.Throws<UsageException>(() => TruncatedStart.From(Levels, sigma)).Message, StringComparison.Ordinal);
        foreach (double strength in (double[])[0, -1, 1.1, double.NaN])
            Assert.Contains("strength: expected", Assert.Throws<UsageException>(() => TruncatedStart.Last(Levels, strength)).Message, StringComparison.Ordinal);
    }
}
