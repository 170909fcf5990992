using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Ode;

/// <summary>
/// Gradient estimation (Permenter and Yuan 2024, "Interpreting and improving diffusion models from an optimization perspective"): Euler's method with the
/// direction gamma*d + (1 - gamma)*d_last, which damps the error of the network's last two answers. gamma = 2 by default.
/// </summary>
public static class GradientEstimation
{
    private const double Gamma = 2;

    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        double gamma = options.Gamma ?? Gamma;
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double step = s[i + 1] - s[i];
            tape.Add(s[i + 1] == 0 ? levels.At(s[i], i) with { D = 1 }
                : i == 0 ? levels.At(s[i], i) with { X = 1, E = step, Keep = Kept.Epsilon }
                : levels.At(s[i], i) with { X = 1, E = step * gamma, History = [new(0, step * (1 - gamma))], Keep = Kept.Epsilon });
        }

        return tape.Plan("gradient_estimation", slots: 1);
    }
}
