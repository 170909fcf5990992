using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers.Ode;

/// <summary>An ordinary differential equation from one time to another by the adaptive pair of Dormand and Prince, as evaluations that a driver pulls.</summary>
/// <param name="slope">The evaluation whose update is dx/dt at a time (time, step), without a target.</param>
/// <param name="still">An update without the network (step), X = 0.</param>
/// <param name="final">What follows the last step (step); null for nothing.</param>
internal sealed class FlowRun(Func<double, int, Evaluation> slope, Func<int, Evaluation> still, double start, double end, double absolute, double relative, Func<int, Evaluation>? final = null) : AdaptiveRun
{
    private const int Start = 0, ErrorSlot = 1, Slopes = 2;

    /// <summary>Slots that the plan must have.</summary>
    public const int Slots = DormandPrince.Stages + Slopes;

    protected override IEnumerable<Evaluation> Evaluations()
    {
        double t = start, direction = Math.Sign(end - start);
        var size = new Measure(MeasureKind.ErrorToSum, Start, Start, absolute, relative);
        int[] k = [.. Enumerable.Range(Slopes, DormandPrince.Stages)];
        int step = 0;
        yield return still(0) with { X = 1, Target = Start, Measure = size };
        double state = Measured;
        yield return slope(t, step) with { Target = k[0], Measure = size with { Slot = k[0] } };
        double first = Measured, h0 = DormandPrince.FirstStep(state, first);
        yield return Stage(1, direction * h0);
        yield return slope(t + direction * h0, step) with { Target = k[1] };
        yield return still(0) with { History = [new(Start, 1)] };
        yield return still(0) with { History = [new(k[1], 1), new(k[0], -1)], Target = ErrorSlot, Measure = size with { Slot = ErrorSlot } };
        double h = DormandPrince.FirstStep(h0, first, Measured);
        bool rejected = false;
        while (direction * (end - t) > 0)
        {
            double left = Math.Abs(end - t), taken = direction * Math.Min(h, left), to = Math.Abs(taken) == left ? end : t + taken;
            for (int stage = 1; stage < DormandPrince.Stages; stage++)
            {
                yield return Stage(stage, taken);
                yield return slope(stage >= DormandPrince.Stages - 2 ? to : t + DormandPrince.C[stage] * taken, step) with { Target = k[stage] };
            }

            HistoryTerm[] error = [.. k.Select((slot, j) => new HistoryTerm(slot, taken * DormandPrince.Error[j])).Where(e => e.Coefficient != 0)];
            yield return still(step) with { History = error, Target = ErrorSlot, Measure = size with { Slot = ErrorSlot } };
            h = Math.Abs(taken) * DormandPrince.Factor(Measured, rejected);
            rejected = !(Measured < 1);
            if (rejected) continue;
            t = to;
            step++;
            (k[0], k[^1]) = (k[^1], k[0]);
            yield return still(step) with { X = 1, Target = Start };
        }

        if (final is not null) yield return final(step);

        Evaluation Stage(int stage, double by) => still(step) with
        {
            History = [new(Start, 1), .. DormandPrince.A[stage].Select((a, j) => new HistoryTerm(k[j], by * a)).Where(term => term.Coefficient != 0)],
        };
    }
}
