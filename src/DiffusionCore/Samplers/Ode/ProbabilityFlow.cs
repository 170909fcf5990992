using DiffusionCore.Kernels.Host;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Ode;

/// <summary>
/// The probability-flow ODE (Song et al. 2021, section 4.3) by the adaptive pair of Dormand and Prince, on x = x0 + sigma*eps in the time ln sigma:
/// dx/dln sigma = sigma*eps(x, sigma). From the largest level to the least; a schedule that ends at zero adds one denoising step.
/// </summary>
public static class ProbabilityFlow
{
    private const double DefaultTolerance = 1e-5;

    public static SamplerPlan Plan(NoiseLevels levels, KOptions options) =>
        new PlanTape(levels).Plan("rk45", slots: DormandPrince.Stages + 2) with { Adaptive = () => new Run(levels, options) };

    private sealed class Run(NoiseLevels levels, KOptions options) : AdaptiveRun
    {
        private const int Start = 0, ErrorSlot = 1, Slopes = 2;

        protected override IEnumerable<Evaluation> Evaluations()
        {
            double t = DoubleMath.Log(levels.Maximum), end = DoubleMath.Log(levels.Minimum);
            var size = new Measure(MeasureKind.ErrorToSum, Start, Start, options.AbsoluteTolerance ?? DefaultTolerance, options.RelativeTolerance ?? DefaultTolerance);
            int[] k = [.. Enumerable.Range(Slopes, DormandPrince.Stages)];
            int step = 0;
            var still = levels.Without(0) with { X = 1 };
            yield return still with { Target = Start, Measure = size };
            double state = Measured;
            yield return Slope(t, k[0]) with { Measure = size with { Slot = k[0] } };
            double slope = Measured, h0 = DormandPrince.FirstStep(state, slope);
            yield return Stage(1, -h0);
            yield return Slope(t - h0, k[1]);
            yield return still with { X = 0, History = [new(Start, 1)] };
            yield return still with { X = 0, History = [new(k[1], 1), new(k[0], -1)], Target = ErrorSlot, Measure = size with { Slot = ErrorSlot } };
            double h = DormandPrince.FirstStep(h0, slope, Measured);
            bool rejected = false;
            while (t > end)
            {
                double taken = Math.Min(h, t - end), to = taken == t - end ? end : t - taken;
                for (int stage = 1; stage < DormandPrince.Stages; stage++)
                {
                    yield return Stage(stage, -taken);
                    yield return Slope(stage >= DormandPrince.Stages - 2 ? to : t - DormandPrince.C[stage] * taken, k[stage]);
                }

                HistoryTerm[] error = [.. k.Select((slot, j) => new HistoryTerm(slot, -taken * DormandPrince.Error[j])).Where(e => e.Coefficient != 0)];
                yield return levels.Without(step) with { History = error, Target = ErrorSlot, Measure = size with { Slot = ErrorSlot } };
                h = taken * DormandPrince.Factor(Measured, rejected);
                rejected = !(Measured < 1);
                if (rejected) continue;
                t = to;
                step++;
                (k[0], k[^1]) = (k[^1], k[0]);
                yield return levels.Without(step) with { X = 1, Target = Start };
            }

            if (levels.Sigmas[^1] == 0) yield return levels.At(levels.Minimum, step) with { D = 1 };

            Evaluation Slope(double at, int slot)
            {
                double sigma = DoubleMath.Exp(at);
                return levels.At(sigma, step) with { E = sigma, Target = slot };
            }

            Evaluation Stage(int stage, double by) => levels.Without(step) with
            {
                History = [new(Start, 1), .. DormandPrince.A[stage].Select((a, j) => new HistoryTerm(k[j], by * a)).Where(term => term.Coefficient != 0)],
            };
        }
    }
}
