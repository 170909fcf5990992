using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// CFG++ (Chung et al. 2024, "CFG++: manifold-constrained classifier-free guidance"): the estimate is guided, the noise that is put back is the
/// unconditional one, x' = D_guided + sigma' (x - D_uncond)/sigma. In the forms of ComfyUI's samplers; multistep forms keep the unconditional estimate.
/// </summary>
public static class KCfgPlusPlus
{
    public static SamplerPlan PlanEuler(NoiseLevels levels, KOptions options) => Euler(levels, options with { Eta = 0 }, "euler_cfg_pp");

    public static SamplerPlan PlanEulerAncestral(NoiseLevels levels, KOptions options) => Euler(levels, options, "euler_ancestral_cfg_pp");

    public static SamplerPlan PlanDpmpp2M(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        double last = 0;
        for (int i = 0; i < levels.Steps; i++)
        {
            double ratio = s[i + 1] / s[i], h = KMath.Lambda(s[i + 1]) - KMath.Lambda(s[i]), k = i == 0 || s[i + 1] == 0 ? 0 : -ExpM1(-h) * h / (2 * last);
            // An estimate may not overwrite the one that the same step reads: two slots in turn.
            tape.AddPlusPlus(levels.At(s[i], i) with { X = ratio, D = 1 + k, History = k == 0 ? [] : [new((i + 1) % 2, -k)] }, -ratio, i % 2);
            last = h;
        }

        return tape.Plan("dpmpp_2m_cfg_pp", slots: 2);
    }

    public static SamplerPlan PlanResMultistep(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double ratio = s[i + 1] / s[i], own = 1 - ratio, former = 0;
            if (i > 0 && s[i + 1] > 0)
            {
                double h = KMath.Lambda(s[i + 1]) - KMath.Lambda(s[i]), c2 = (KMath.Lambda(s[i - 1]) - KMath.Lambda(s[i])) / h, phi1 = -ExpM1(-h) / h;
                former = (1 - phi1) / c2;
                own = h * phi1 - former;
            }

            // x + (D - U) takes x's place: ratio*(x + D - U) + own*U + former*U_last.
            double guided = s[i + 1] == 0 ? 1 : former == 0 ? 1 : ratio, unconditional = s[i + 1] == 0 ? 0 : former == 0 ? -ratio : own - ratio;
            tape.AddPlusPlus(levels.At(s[i], i) with { X = ratio, D = guided, History = former == 0 ? [] : [new((i + 1) % 2, former)] }, unconditional, i % 2);
        }

        return tape.Plan("res_multistep_cfg_pp", slots: 2);
    }

    private static SamplerPlan Euler(NoiseLevels levels, KOptions options, string name)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            var (down, up) = KMath.Ancestral(s[i], s[i + 1], options.Eta ?? 1);
            double ratio = down / s[i];
            tape.AddPlusPlus(levels.At(s[i], i) with { X = ratio, D = 1, N = up * options.NoiseScale, DrawsNoise = up > 0 }, -ratio);
        }

        return tape.Plan(name);
    }
}
