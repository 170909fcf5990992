namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// Euler's method on dx/dsigma = (x - D(x, sigma))/sigma with the churn of Karras et al. 2022, algorithm 2: noise raises the level first, and the
/// network sees the raised latent at the raised level.
/// </summary>
public static class KEuler
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double hat = KMath.Churn(tape, options, i, s[i], levels.Steps);
            tape.Add(levels.At(hat, i) with { X = s[i + 1] / hat, D = 1 - s[i + 1] / hat });
        }

        return tape.Plan("euler");
    }
}
