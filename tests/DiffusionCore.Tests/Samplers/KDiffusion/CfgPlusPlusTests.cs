using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Tests.Samplers.KDiffusion;

/// <summary>CFG++ against its formulas, run with both branches apart.</summary>
public sealed class CfgPlusPlusTests
{
    private const double Scale = 1.7;

    private static readonly double[] Sigmas = [8, 3, 1.5, 0.4, 0];

    private static double Conditional(double x, double sigma) => Math.Tanh(x / (1 + sigma));

    private static double Unconditional(double x, double sigma) => 0.5 * Math.Tanh(x / (2 + sigma)) - 0.1;

    [Theory]
    [InlineData("euler_cfg_pp")]
    [InlineData("dpmpp_2m_cfg_pp")]
    [InlineData("res_multistep_cfg_pp")]
    public void The_run_is_that_of_the_formulas(string name)
    {
        var plan = KSampler.Plan(name, GaussianWorld.Levels(Sigmas));
        Assert.True(plan.NeedsUnconditional);
        double found = HostSampler.Run(plan, [9.5], (x, s) => [Conditional(x[0], s)], unconditional: (x, s) => [Unconditional(x[0], s)], guidance: Scale)[0];

        double x = 9.5, last = double.NaN;
        for (int i = 0; i + 1 < Sigmas.Length; i++)
        {
            double s = Sigmas[i], next = Sigmas[i + 1], c = Conditional(x, s), u = Unconditional(x, s), guided = u + Scale * (c - u), before = u;
            double h = Math.Log(s / next);
            if (name == "euler_cfg_pp" || i == 0 || next == 0)
            {
                x = guided + next * (x - u) / s;
            }
            else if (name == "dpmpp_2m_cfg_pp")
            {
                double r = Math.Log(Sigmas[i - 1] / s) / h;
                x = guided - Math.Exp(-h) * u + (1 - Math.Exp(-h)) / (2 * r) * (guided - last) + Math.Exp(-h) * x;
            }
            else
            {
                double c2 = -Math.Log(Sigmas[i - 1] / s) / h, phi1 = (1 - Math.Exp(-h)) / h, phi2 = (1 - phi1) / h;
                x = Math.Exp(-h) * (x + guided - u) + h * ((phi1 - phi2 / c2) * u + phi2 / c2 * last);
            }

            last = before;
        }

        Assert.Equal(x, found, 1e-12);
    }

    [Fact]
    public void With_one_branch_and_no_guidance_they_are_the_plain_samplers()
    {
        foreach (var (plus, plain) in new[] { ("euler_cfg_pp", "euler"), ("res_multistep_cfg_pp", "res_multistep") })
        {
            double a = HostSampler.Run(KSampler.Plan(plus, GaussianWorld.Levels(Sigmas)), [9.5], (x, s) => [Conditional(x[0], s)], unconditional: (x, s) => [Conditional(x[0], s)], guidance: 5)[0];
            double b = HostSampler.Run(KSampler.Plan(plain, GaussianWorld.Levels(Sigmas)), [9.5], (x, s) => [Conditional(x[0], s)])[0];
            Assert.Equal(b, a, 1e-12);
        }
    }

    [Fact]
    public void The_ancestral_form_puts_unconditional_noise_back()
    {
        var plan = KSampler.Plan("euler_ancestral_cfg_pp", GaussianWorld.Levels([2, 1]));
        double down = 0.5, up = Math.Sqrt(0.75), c = Conditional(3, 2), u = Unconditional(3, 2);
        double found = HostSampler.Run(plan, [3], (x, s) => [Conditional(x[0], s)], z => z[0] = 0.2, unconditional: (x, s) => [Unconditional(x[0], s)], guidance: Scale)[0];
        Assert.Equal(u + Scale * (c - u) + down * (3 - u) / 2 + 0.2 * up, found, 1e-12);
    }
}
