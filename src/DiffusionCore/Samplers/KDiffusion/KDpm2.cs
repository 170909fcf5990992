namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// DPM-Solver-2 in the form of Karras et al. 2022: the slope at the level halfway in ln sigma carries the whole step (a midpoint rule). With churn,
/// or ancestral: down to a level below the wanted one, then noise.
/// </summary>
public static class KDpm2
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double hat = KMath.Churn(tape, options, i, s[i], levels.Steps);
            Step(tape, i, hat, s[i + 1], 0, draws: false);
        }

        return tape.Plan("dpm_2", slots: 1);
    }

    public static SamplerPlan PlanAncestral(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            var (down, up) = KMath.Ancestral(s[i], s[i + 1], options.Eta ?? 1);
            Step(tape, i, s[i], down, up * options.NoiseScale, draws: s[i + 1] > 0);
        }

        return tape.Plan("dpm_2_ancestral", slots: 1);
    }

    private static void Step(PlanTape tape, int i, double from, double to, double noise, bool draws)
    {
        var levels = tape.Levels;
        if (to == 0)
        {
            tape.Add(levels.At(from, i) with { D = 1, N = noise, DrawsNoise = draws });
            return;
        }

        double middle = KMath.Between(from, to);
        tape.Add(levels.At(from, i) with { X = middle / from, D = 1 - middle / from, Keep = Kept.Sample });
        tape.Add(levels.At(middle, i) with { E = to - from, History = [new(0, 1)], N = noise, DrawsNoise = draws });
    }
}
