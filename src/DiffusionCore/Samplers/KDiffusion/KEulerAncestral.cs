namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>Euler steps to a level below the wanted one, then noise up to it: the ancestral sampler of DDPM on noise levels (Song et al. 2021, appendix F).</summary>
public static class KEulerAncestral
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            var (down, up) = KMath.Ancestral(s[i], s[i + 1], options.Eta ?? 1);
            tape.Add(levels.At(s[i], i) with { X = down / s[i], D = 1 - down / s[i], N = up * options.NoiseScale, DrawsNoise = s[i + 1] > 0 });
        }

        return tape.Plan("euler_ancestral");
    }
}
