using DiffusionCore.Runtime;
using DiffusionCore.Samplers.Sde;

namespace DiffusionCore.Tests.Samplers.Sde;

/// <summary>The processes keep their own laws: the mean and the variance solve the equations that drift and diffusion say.</summary>
public sealed class ScoreProcessTests
{
    public static TheoryData<string> Kinds => ["vp", "sub-vp", "ve"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Moments_follow_drift_and_diffusion(string kind)
    {
        var p = Of(kind);
        foreach (double t in (double[])[0.05, 0.3, 0.8, 0.999])
        {
            const double H = 1e-5;
            double mean = (p.Mean(t + H) - p.Mean(t - H)) / (2 * H), variance = (Square(p.Deviation(t + H)) - Square(p.Deviation(t - H))) / (2 * H);
            Assert.Equal(p.Drift(t) * p.Mean(t), mean, 1e-6 * Math.Max(1, Math.Abs(mean)));
            Assert.Equal(2 * p.Drift(t) * Square(p.Deviation(t)) + p.Diffusion(t), variance, 1e-5 * Math.Max(1, Math.Abs(variance)));
        }

        static double Square(double v) => v * v;
    }

    [Fact]
    public void Ends_are_where_the_paper_has_them()
    {
        Assert.Equal(1, Of("vp").Mean(0));
        Assert.Equal(0, Of("vp").Deviation(0));
        Assert.Equal(Math.Exp(-0.5 * 10.05), Of("vp").Mean(1), 1e-12);
        Assert.Equal(0.01, Of("ve").Deviation(0), 1e-15);
        Assert.Equal(50, Of("ve").Deviation(1), 1e-9);
        Assert.Equal(Of("vp").Deviation(0.4) * Of("vp").Deviation(0.4), Of("sub-vp").Deviation(0.4), 1e-15);
    }

    [Fact]
    public void Bad_ranges_are_refused()
    {
        Assert.Contains("beta: expected 0 < least < largest", Assert.Throws<UsageException>(() => ScoreProcess.VariancePreserving(2, 1)).Message, StringComparison.Ordinal);
        Assert.Contains("sigma: expected 0 < least < largest", Assert.Throws<UsageException>(() => ScoreProcess.VarianceExploding(0, 1)).Message, StringComparison.Ordinal);
    }

    private static ScoreProcess Of(string kind) => kind switch
    {
        "vp" => ScoreProcess.VariancePreserving(),
        "sub-vp" => ScoreProcess.SubVariancePreserving(),
        _ => ScoreProcess.VarianceExploding(),
    };
}
