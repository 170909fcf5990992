using DiffusionCore.Runtime;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// DPM-Solver single-step, orders 1 to 3 (Lu et al. 2022a, algorithms 1 and 2), on x = x0 + sigma*eps with t = -ln sigma. Fast spends a given number of
/// evaluations on thirds; adaptive (their appendix C) compares two orders and chooses its steps.
/// </summary>
public static class KDpmSolver
{
    internal const int Start = 0, Epsilon = 1, Inner = 2;

    /// <summary>DPM-Solver-fast: steps of order 3 even in ln sigma from the largest to the least level, and lower orders for what is left.</summary>
    /// <param name="levels">The ends of <see cref="NoiseLevels.Sigmas"/> (without the zero) and, by their number, the evaluations.</param>
    public static SamplerPlan PlanFast(NoiseLevels levels, KOptions options)
    {
        int evaluations = levels.Steps, steps = evaluations / 3 + 1;
        double eta = options.Eta ?? 0;
        double[] t = NoiseSchedule.Linspace(KMath.Lambda(levels.Maximum), KMath.Lambda(levels.Minimum), steps + 1);
        var tape = new PlanTape(levels with { Sigmas = Array.ConvertAll(t, KMath.Sigma) });
        for (int i = 0; i < steps; i++)
        {
            int order = i < steps - 2 ? 3 : evaluations % 3 == 0 ? (i == steps - 2 ? 2 : 1) : i == steps - 1 ? evaluations % 3 : 3;
            var (end, noise) = Goal(t[i], t[i + 1], t[^1], eta);
            foreach (var e in Step(tape.Levels, i, t[i], end, order, 1.0 / 2, 1.0 / 3, 2.0 / 3)) tape.Add(e);
            if (eta > 0) tape.Noise(i, noise * options.NoiseScale, (KMath.Sigma(t[i]), KMath.Sigma(t[i + 1])));
        }

        return tape.Plan("dpm_fast", slots: 3);
    }

    /// <summary>Where the deterministic part of an ancestral step ends, never below the end of the run, and the noise after it.</summary>
    internal static (double T, double Noise) Goal(double t, double next, double end, double eta)
    {
        if (eta == 0) return (next, 0);
        double wanted = KMath.Sigma(next), goal = Math.Min(end, KMath.Lambda(KMath.Ancestral(KMath.Sigma(t), wanted, eta).Down)), down = KMath.Sigma(goal);
        return (goal, Math.Sqrt(Math.Max(0, wanted * wanted - down * down)));
    }

    /// <summary>One step from t to next: order evaluations. The latent and its eps stay in slots for whoever compares orders.</summary>
    internal static IEnumerable<Evaluation> Step(NoiseLevels levels, int step, double t, double next, int order, double half, double third, double twoThirds)
    {
        double h = next - t, sigma = KMath.Sigma(t), whole = -KMath.Sigma(next) * ExpM1(h);
        if (order == 1)
        {
            yield return levels.At(sigma, step) with { X = 1, E = whole };
            yield break;
        }

        double r1 = order == 2 ? half : third, s1 = KMath.Sigma(t + r1 * h);
        yield return levels.At(sigma, step) with
        {
            X = 1,
            E = -s1 * ExpM1(r1 * h),
            SampleSlot = Start,
            Keep = Kept.Epsilon,
            KeepSlot = Epsilon,
        };
        if (order == 2)
        {
            yield return levels.At(s1, step) with { E = whole / (2 * r1), History = [new(Start, 1), new(Epsilon, whole - whole / (2 * r1))] };
            yield break;
        }

        yield return Second(levels, step, t, h, r1, twoThirds);
        yield return Third(levels, step, t, next, twoThirds);
    }

    /// <summary>The second inner latent of a step of order 3; keeps the eps that it saw.</summary>
    internal static Evaluation Second(NoiseLevels levels, int step, double t, double h, double r1, double r2)
    {
        double s1 = KMath.Sigma(t + r1 * h), s2 = KMath.Sigma(t + r2 * h), difference = -s2 * (r2 / r1) * (ExpM1(r2 * h) / (r2 * h) - 1);
        return levels.At(s1, step) with { E = difference, History = [new(Start, 1), new(Epsilon, -s2 * ExpM1(r2 * h) - difference)], Keep = Kept.Epsilon, KeepSlot = Inner };
    }

    internal static Evaluation Third(NoiseLevels levels, int step, double t, double next, double r2)
    {
        double h = next - t, sigma = KMath.Sigma(next), difference = -sigma / r2 * (ExpM1(h) / h - 1);
        return levels.At(KMath.Sigma(t + r2 * h), step) with { E = difference, History = [new(Start, 1), new(Epsilon, -sigma * ExpM1(h) - difference)] };
    }

    /// <summary>DPM-Solver-12 or -23 with a step controller.</summary>
    public static SamplerPlan PlanAdaptive(NoiseLevels levels, KOptions options)
    {
        int order = options.Order ?? 3;
        if (order is not (2 or 3)) throw new UsageException($"order: dpm_adaptive has orders 2 and 3, found {order}");
        var ends = levels with { Sigmas = [levels.Maximum, levels.Minimum] };
        return new PlanTape(ends).Plan("dpm_adaptive", slots: 5) with { Adaptive = () => new KDpmAdaptiveRun(ends, options, order) };
    }
}
