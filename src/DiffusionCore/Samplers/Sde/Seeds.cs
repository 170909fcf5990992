using DiffusionCore.Samplers.KDiffusion;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.Sde;

/// <summary>
/// SEEDS-2 and SEEDS-3 (Gonzalez et al. 2023, "SEEDS: exponential SDE solvers"): single-step exponential solvers of the reverse SDE in data prediction.
/// The linear part and the noise are exact; with lambda = -ln sigma and the noise share eta,
/// <code>x(b) = (sigma_b/sigma_a) e^(-eta (b-a)) x(a) + (1 - e^(-(1+eta)(b-a))) D + sigma_b sqrt(1 - e^(-2 eta (b-a))) z</code>
/// The noise of an inner stage goes on into the next one, damped by (sigma_b/sigma_a) e^(-eta (b-a)), and is joined by fresh noise: it is read back as
/// what a stage's latent has beyond its mean, so nothing but latents and estimates is kept.
/// </summary>
public static class Seeds
{
    private const int Start = 0, First = 1, Second = 2;

    public static SamplerPlan Plan2(NoiseLevels levels, KOptions options)
    {
        double eta = options.Eta ?? 1, r = options.R, share = 1 / (2 * r);
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            if (Last(tape, i)) break;
            double t = KMath.Lambda(s[i]), h = KMath.Lambda(s[i + 1]) - t, middle = KMath.Sigma(t + r * h), he = h * (1 + eta);
            double inner = -ExpM1(-r * he), whole = -ExpM1(-he), carry = Damping(middle, s[i + 1], eta);
            if (eta == 0) carry = 0;
            tape.Add(levels.At(s[i], i) with
            {
                X = 1 - inner,
                D = inner,
                SampleSlot = Start,
                Keep = Kept.Denoised,
                KeepSlot = First,
                N = Fresh(s[i], middle, eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (s[i], middle) : null,
            });
            tape.Add(levels.At(middle, i) with
            {
                X = carry,
                D = whole * share,
                History = [new(Start, 1 - whole - carry * (1 - inner)), new(First, whole * (1 - share) - carry * inner)],
                N = Fresh(middle, s[i + 1], eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (middle, s[i + 1]) : null,
            });
        }

        return tape.Plan("seeds_2", slots: 2);
    }

    public static SamplerPlan Plan3(NoiseLevels levels, KOptions options)
    {
        const double R1 = 1.0 / 3, R2 = 2.0 / 3;
        double eta = options.Eta ?? 1;
        var tape = new PlanTape(levels);
        double[] s = levels.Sigmas;
        for (int i = 0; i < levels.Steps; i++)
        {
            if (Last(tape, i)) break;
            double t = KMath.Lambda(s[i]), h = KMath.Lambda(s[i + 1]) - t, s1 = KMath.Sigma(t + R1 * h), s2 = KMath.Sigma(t + R2 * h), he = h * (1 + eta);
            double c1 = -ExpM1(-R1 * he), c2 = -ExpM1(-R2 * he), c3 = -ExpM1(-he);
            double slope2 = R2 / R1 * (1 - c2 / (R2 * he)), slope3 = (1 - c3 / he) / R2;
            double carry2 = eta == 0 ? 0 : Damping(s1, s2, eta), carry3 = eta == 0 ? 0 : Damping(s2, s[i + 1], eta);
            tape.Add(levels.At(s[i], i) with
            {
                X = 1 - c1,
                D = c1,
                SampleSlot = Start,
                Keep = Kept.Denoised,
                KeepSlot = First,
                N = Fresh(s[i], s1, eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (s[i], s1) : null,
            });
            // mean_2 = (1-c1) x + c1 D;  mean_3 = (1-c2) x + c2 D + slope2 (D_2 - D).
            tape.Add(levels.At(s1, i) with
            {
                X = carry2,
                D = slope2,
                History = [new(Start, 1 - c2 - carry2 * (1 - c1)), new(First, c2 - slope2 - carry2 * c1)],
                Keep = Kept.Denoised,
                KeepSlot = Second,
                N = Fresh(s1, s2, eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (s1, s2) : null,
            });
            tape.Add(levels.At(s2, i) with
            {
                X = carry3,
                D = slope3,
                History = [new(Start, 1 - c3 - carry3 * (1 - c2)), new(First, c3 - slope3 - carry3 * (c2 - slope2)), new(Second, -carry3 * slope2)],
                N = Fresh(s2, s[i + 1], eta) * options.NoiseScale,
                NoiseInterval = eta > 0 ? (s2, s[i + 1]) : null,
            });
        }

        return tape.Plan("seeds_3", slots: 3);
    }

    private static bool Last(PlanTape tape, int i)
    {
        double[] s = tape.Levels.Sigmas;
        if (s[i + 1] > 0) return false;
        tape.Add(tape.Levels.At(s[i], i) with { D = 1 });
        return true;
    }

    private static double Damping(double from, double to, double eta) => to / from * Pow(to / from, eta);

    private static double Fresh(double from, double to, double eta) => eta == 0 ? 0 : to * Math.Sqrt(-ExpM1(-2 * eta * (KMath.Lambda(to) - KMath.Lambda(from))));
}
