using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// DPM-Solver++ with two evaluations in a step (Lu et al. 2022b, algorithm 1, 2S): ancestral, and the SDE form whose noise follows one Brownian path
/// through the inner level and the end of the step.
/// </summary>
public static class KDpmppTwoStage
{
    private const int Start = 0, First = 1;

    public static SamplerPlan PlanAncestral(NoiseLevels levels, KOptions options)
    {
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            var (down, up) = KMath.Ancestral(s[i], s[i + 1], options.Eta ?? 1);
            if (down == 0)
            {
                tape.Add(levels.At(s[i], i) with { D = 1, N = up * options.NoiseScale, DrawsNoise = s[i + 1] > 0 });
                continue;
            }

            double middle = KMath.Between(s[i], down);
            tape.Add(levels.At(s[i], i) with { X = middle / s[i], D = 1 - middle / s[i], Keep = Kept.Sample, KeepSlot = Start });
            tape.Add(levels.At(middle, i) with
            {
                D = 1 - down / s[i],
                History = [new(Start, down / s[i])],
                N = up * options.NoiseScale,
                DrawsNoise = true,
            });
        }

        return tape.Plan("dpmpp_2s_ancestral", slots: 1);
    }

    public static SamplerPlan PlanSde(NoiseLevels levels, KOptions options)
    {
        double eta = options.Eta ?? 1, share = 1 / (2 * options.R);
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            double from = s[i], to = s[i + 1];
            if (to == 0)
            {
                tape.Add(levels.At(from, i) with { D = 1 });
                break;
            }

            double t = KMath.Lambda(from), middle = KMath.Sigma(t + options.R * (KMath.Lambda(to) - t));
            var (down, up) = KMath.Ancestral(from, middle, eta);
            tape.Add(levels.At(from, i) with
            {
                X = down / from,
                D = -ExpM1(t - KMath.Lambda(down)),
                N = up * options.NoiseScale,
                DrawsNoise = true,
                NoiseInterval = (from, middle),
                SampleSlot = Start,
                Keep = share == 1 ? Kept.None : Kept.Denoised,
                KeepSlot = First,
            });
            (down, up) = KMath.Ancestral(from, to, eta);
            double phi = -ExpM1(t - KMath.Lambda(down));
            tape.Add(levels.At(middle, i) with
            {
                D = phi * share,
                History = share == 1 ? [new(Start, down / from)] : [new(Start, down / from), new(First, phi * (1 - share))],
                N = up * options.NoiseScale,
                DrawsNoise = true,
                NoiseInterval = (from, to),
            });
        }

        return tape.Plan("dpmpp_sde", slots: share == 1 ? 1 : 2);
    }
}
