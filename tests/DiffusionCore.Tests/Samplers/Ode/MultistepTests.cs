using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Tests.Samplers.Ode;

/// <summary>Steps of res_multistep and gradient_estimation worked by hand.</summary>
public sealed class MultistepTests
{
    private static readonly NoiseLevels Halves = GaussianWorld.Levels([4, 2, 1, 0]);

    [Fact]
    public void Res_multistep_meets_both_order_conditions()
    {
        var e = KSampler.Plan("res_multistep", Halves).Evaluations[1];
        double h = Math.Log(2), phi1 = 0.5 / h, phi2 = (1 - phi1) / h, former = e.History.Single().Coefficient;
        Assert.Equal(0.5, e.X, 1e-12);
        Assert.Equal(0.5, e.D + former, 1e-12);                                        // h (b1 + b2) = h phi_1
        Assert.Equal(-h * phi2, former, 1e-12);                                        // b2 c2 = phi_2, c2 = -1 for equal steps
    }

    [Fact]
    public void Gradient_estimation_weighs_the_last_direction()
    {
        var e = KSampler.Plan("gradient_estimation", Halves).Evaluations[1];
        Assert.Equal((1, -2, 1), (e.X, e.E, e.History.Single().Coefficient));          // dt = -1, gamma = 2: 2 d - d_last
        e = KSampler.Plan("gradient_estimation", Halves, new KOptions { Gamma = 1.5 }).Evaluations[1];
        Assert.Equal((1, -1.5, 0.5), (e.X, e.E, e.History.Single().Coefficient));
    }

    [Fact]
    public void Ancestral_res_multistep_counts_from_where_the_last_step_went()
    {
        var plan = KSampler.Plan("res_multistep_ancestral", Halves);
        double down = Math.Sqrt(1 - 0.75), h = Math.Log(2 / down), last = Math.Sqrt(4 - 3), c2 = (Math.Log(1 / 4.0) - Math.Log(1 / last)) / h;
        double phi1 = -(Math.Exp(-h) - 1) / h, phi2 = (1 - phi1) / h;
        Assert.Equal(h * phi2 / c2, plan.Evaluations[1].History.Single().Coefficient, 1e-12);
        Assert.Equal(Math.Sqrt(0.75), plan.Evaluations[1].N, 1e-12);
    }
}
