namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>Heun's method on dx/dsigma = (x - D)/sigma with churn, Karras et al. 2022, algorithm 2. Two evaluations per step, one for the step to zero.</summary>
public static class KHeun
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double hat = KMath.Churn(tape, options, i, s[i], levels.Steps), next = s[i + 1], step = next - hat;
            var euler = levels.At(hat, i) with { X = next / hat, D = 1 - next / hat };
            if (next == 0)
            {
                tape.Add(euler);
                continue;
            }

            // The first slope is (x_euler - x)/step, so with x kept: x' = (x + x_euler)/2 + step/2 * slope at the end.
            tape.Add(euler with { Keep = Kept.Sample });
            tape.Add(levels.At(next, i) with { X = 0.5, E = step / 2, History = [new(0, 0.5)] });
        }

        return tape.Plan("heun", slots: 1);
    }
}
