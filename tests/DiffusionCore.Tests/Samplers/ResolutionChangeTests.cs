using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>A change of resolution keeps the signal and leaves white noise of the level that was asked for.</summary>
public class ResolutionChangeTests
{
    [Theory]
    [InlineData(0.6, 0.8, 2)]
    [InlineData(1, 14.6, 2)]
    [InlineData(0.9, 0.2, 3)]
    public void At_matched_levels_the_coarse_noise_is_the_block_mean_of_the_fine_noise(double alpha, double sigma, int factor)
    {
        // sigma'/alpha' = factor*sigma/alpha: nothing but the detail has to be added.
        double level = sigma / alpha, fineAlpha = 0.7, fineSigma = factor * level * fineAlpha;
        Assert.Equal(level, ResolutionChange.MatchedLevel(fineSigma / fineAlpha, factor), 1e-12 * level);
        var change = ResolutionChange.Of(alpha, sigma, fineAlpha, fineSigma, factor);
        Assert.Equal(fineAlpha / alpha, change.Kept, 1e-12);
        Assert.Equal(fineSigma, change.Detail, 1e-12);
        Assert.InRange(change.Mean, 0, 1e-4 * fineSigma);
    }

    [Theory]
    [InlineData(0.6, 0.8, 0.5, 3.0, 2)]
    [InlineData(0.95, 0.1, 0.9, 0.4, 3)]
    public void The_covariance_of_the_fine_noise_is_that_of_white_noise(double alpha, double sigma, double fineAlpha, double fineSigma, int factor)
    {
        // Exactly: x' is linear in the coarse noise and in n and m, so its covariance within a block follows from its answers to unit vectors.
        var change = ResolutionChange.Of(alpha, sigma, fineAlpha, fineSigma, factor);
        int cells = factor * factor;
        var columns = new List<double[]>();
        columns.Add([.. Raise(change, 1, new float[cells], new float[cells], factor).Select(v => v * sigma)]);
        for (int k = 0; k < cells; k++)
        {
            float[] unit = new float[cells];
            unit[k] = 1;
            columns.Add(Raise(change, 0, [.. unit], new float[cells], factor));
            columns.Add(Raise(change, 0, new float[cells], unit, factor));
        }

        for (int i = 0; i < cells; i++)
        {
            for (int j = 0; j < cells; j++)
                Assert.Equal(i == j ? fineSigma * fineSigma : 0, columns.Sum(c => c[i] * c[j]), 1e-5 * fineSigma * fineSigma);
        }

        // The signal: alpha * x0 becomes fineAlpha * x0 in every pixel of the block.
        Assert.All(Raise(change, (float)alpha, new float[cells], new float[cells], factor), v => Assert.Equal(fineAlpha, v, 1e-6));
    }

    [Fact]
    public void Lowered_noise_is_white_and_independent_of_the_detail()
    {
        // Unit vectors again: the lowered noise has variance 1, and no covariance with n less its mean.
        const int Factor = 2;
        double variance = 0;
        var covariance = new double[4];
        for (int k = 0; k < 4; k++)
        {
            var n = new float[4];
            n[k] = 1;
            var low = new float[1];
            ResolutionChange.Lower(n, low, 1, 1, 1, Factor);
            variance += low[0] * low[0];
            for (int i = 0; i < 4; i++) covariance[i] += low[0] * (n[i] - 0.25);
        }

        Assert.Equal(1, variance, 1e-7);
        Assert.All(covariance, c => Assert.Equal(0, c, 1e-7));
    }

    [Fact]
    public void Channels_and_blocks_do_not_mix()
    {
        var change = new ResolutionChange(2, 3, 0);
        float[] coarse = [1, 10, 2, 20, 3, 30], fine = new float[2 * 6 * 2];
        fine[(1 * 6 + 5) * 2 + 1] = 4;                                    // last block, second channel, lower right pixel
        change.Raise(coarse, fine, [], 1, 3, 2, 2);
        float[] row = [2, 20, 2, 20, 4, 40, 4, 40, 6, 57, 6, 57];
        Assert.Equal([.. row, .. row[..11], 69], fine);
    }

    [Fact]
    public void Less_noise_than_the_coarse_latent_brings_is_refused()
    {
        string message = Assert.Throws<UsageException>(() => ResolutionChange.Of(1, 1, 1, 1.9, 2)).Message;
        Assert.Contains("1 becomes 2 at 2 times the size", message, StringComparison.Ordinal);
    }

    private static double[] Raise(ResolutionChange change, float coarse, float[] n, float[] m, int factor)
    {
        change.Raise([coarse], n, m, 1, 1, 1, factor);
        return Array.ConvertAll(n, v => (double)v);
    }
}
