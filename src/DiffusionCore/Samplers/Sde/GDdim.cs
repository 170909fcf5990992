using DiffusionCore.Samplers.KDiffusion;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.Sde;

/// <summary>
/// Generalised DDIM for isotropic diffusions (Zhang, Tao and Chen 2023, "gDDIM", theorem 1): the exact solution of the reverse SDE with noise share
/// lambda for a constant eps. With q = (sigma'/sigma)^(lambda^2),
/// <code>x' = x + (sigma' q - sigma) eps + sigma' sqrt(1 - q^2) z</code>
/// lambda = 0 is DDIM, 1 the ancestral sampler; the marginals of a point are exact for every lambda.
/// </summary>
public static class GDdim
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        double lambda = options.Eta ?? 0;
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double q = s[i + 1] == 0 ? 0 : Pow(s[i + 1] / s[i], lambda * lambda), toward = s[i + 1] * q - s[i];
            double noise = lambda == 0 || s[i + 1] == 0 ? 0 : s[i + 1] * Math.Sqrt(-ExpM1(-2 * lambda * lambda * (KMath.Lambda(s[i + 1]) - KMath.Lambda(s[i]))));
            tape.Add(s[i + 1] == 0
                ? levels.At(s[i], i) with { D = 1 }
                : levels.At(s[i], i) with { X = 1 + toward / s[i], D = -toward / s[i], N = noise * options.NoiseScale, DrawsNoise = lambda > 0 });
        }

        return tape.Plan("gddim");
    }
}
