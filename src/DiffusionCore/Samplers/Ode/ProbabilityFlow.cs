using DiffusionCore.Kernels.Host;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Ode;

/// <summary>
/// The probability-flow ODE (Song et al. 2021, section 4.3) by the adaptive pair of Dormand and Prince, on x = x0 + sigma*eps in the time ln sigma:
/// dx/dln sigma = sigma*eps(x, sigma). From the largest level to the least; a schedule that ends at zero adds one denoising step.
/// </summary>
public static class ProbabilityFlow
{
    private const double DefaultTolerance = 1e-5;

    public static SamplerPlan Plan(NoiseLevels levels, KOptions options) => new PlanTape(levels).Plan("rk45", slots: FlowRun.Slots) with
    {
        Adaptive = () => new FlowRun(
            (time, step) =>
            {
                double sigma = DoubleMath.Exp(time);
                return levels.At(sigma, step) with { E = sigma };
            },
            step => levels.Without(step),
            DoubleMath.Log(levels.Maximum), DoubleMath.Log(levels.Minimum), options.AbsoluteTolerance ?? DefaultTolerance, options.RelativeTolerance ?? DefaultTolerance,
            levels.Sigmas[^1] == 0 ? step => levels.At(levels.Minimum, step) with { D = 1 } : null),
    };
}
