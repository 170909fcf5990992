using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers.KDiffusion;

/// <summary>
/// DPM-Solver with steps by the error between two orders (Lu et al. 2022a, appendix C): 2 and 3, or 1 and 2. A step that is too long is taken back; eps
/// at its start is known by then, so another try costs one evaluation less.
/// </summary>
internal sealed class KDpmAdaptiveRun(NoiseLevels levels, KOptions options, int order) : AdaptiveRun
{
    private const double EndTolerance = 1e-5;
    private const double Relative = 0.05, Absolute = 0.0078;
    private const double Half = 1.0 / 2, Third = 1.0 / 3, TwoThirds = 2.0 / 3;

    protected override IEnumerable<Evaluation> Evaluations()
    {
        const int Start = KDpmSolver.Start, Epsilon = KDpmSolver.Epsilon, Inner = KDpmSolver.Inner;
        double eta = options.Eta ?? 0, s = KMath.Lambda(levels.Maximum), end = KMath.Lambda(levels.Minimum);
        var controller = new StepController(options.FirstStep, options, eta > 0 ? 1.5 : order);
        int low = 3, previous = 4, step = 0;
        bool retry = false;
        // The error's scale looks at the last low-order result; at the start that is the latent itself.
        yield return levels.Without(0) with { X = 1, Target = previous };
        while (s < end - EndTolerance)
        {
            double wanted = Math.Min(end, s + controller.H);
            var (t, noise) = KDpmSolver.Goal(s, wanted, end, eta);
            double h = t - s, r1 = order == 2 ? Half : Third, s1 = KMath.Sigma(s + r1 * h), inner = -s1 * ExpM1(r1 * h), whole = -KMath.Sigma(t) * ExpM1(h);
            if (retry) yield return levels.Without(step) with { History = [new(Start, 1), new(Epsilon, inner)] };
            else yield return levels.At(KMath.Sigma(s), step) with { X = 1, E = inner, SampleSlot = Start, Keep = Kept.Epsilon, KeepSlot = Epsilon };
            // First the result of lower order into its slot, then the one that counts.
            if (order == 2)
            {
                yield return levels.At(s1, step) with { E = whole, History = [new(Start, 1)] };
                yield return levels.Without(step) with { History = [new(Start, 1), new(Epsilon, whole)], Target = low, Measure = Error() };
            }
            else
            {
                yield return KDpmSolver.Second(levels, step, s, h, r1, TwoThirds);
                yield return KDpmSolver.Third(levels, step, s, t, TwoThirds);
                double difference = whole / (2 * r1);
                yield return levels.Without(step) with { History = [new(Start, 1), new(Epsilon, whole - difference), new(Inner, difference)], Target = low, Measure = Error() };
            }

            retry = !controller.Accepts(Measured);
            if (retry) continue;
            (low, previous) = (previous, low);
            if (eta > 0) yield return levels.Without(step) with { X = 1, N = noise * options.NoiseScale, DrawsNoise = true, NoiseInterval = (KMath.Sigma(s), KMath.Sigma(wanted)) };
            s = wanted;
            step++;
        }

        Measure Error() => new(MeasureKind.ErrorToMaximum, low, previous, options.AbsoluteTolerance ?? Absolute, options.RelativeTolerance ?? Relative);
    }
}
