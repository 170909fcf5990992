using DiffusionCore.Samplers.KDiffusion;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.Ode;

/// <summary>
/// Refined exponential solver, multistep, second order (Zhang et al. 2023, "Improved order analysis and design of exponential integrator for diffusion
/// models sampling"): with lambda = -ln sigma, h the step, phi_1 = (e^-h - 1)/-h and phi_2 = (phi_1 - 1)/-h,
/// <code>x' = e^-h x + h (b1 D + b2 D_last),  b2 = phi_2/c2,  b1 = phi_1 - b2,  c2 = (lambda_last - lambda)/h</code>
/// Both order conditions hold, b1 + b2 = phi_1 and b2 c2 = phi_2; DPM-Solver++(2M) meets the second to leading order only. With eta the steps are ancestral.
/// </summary>
public static class ResMultistep
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        double lastDown = double.NaN;
        for (int i = 0; i < levels.Steps; i++)
        {
            var (down, up) = KMath.Ancestral(s[i], s[i + 1], options.Eta ?? 0);
            double own = 1 - down / s[i], former = 0;
            if (i > 0 && down > 0)
            {
                // An ancestral step counts from the level that the last one went down to, as in ComfyUI.
                double h = KMath.Lambda(down) - KMath.Lambda(s[i]), c2 = (KMath.Lambda(s[i - 1]) - KMath.Lambda(lastDown)) / h;
                double phi1 = -ExpM1(-h) / h, phi2 = (1 - phi1) / h;
                former = h * phi2 / c2;
                own = h * phi1 - former;
            }

            tape.Add(levels.At(s[i], i) with
            {
                X = down / s[i],
                D = own,
                History = former == 0 ? [] : [new(0, former)],
                Keep = Kept.Denoised,
                N = up * options.NoiseScale,
                DrawsNoise = up > 0,
            });
            lastDown = down;
        }

        return tape.Plan("res_multistep", slots: 1);
    }
}
