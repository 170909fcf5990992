using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>
/// DEIS, Zhang and Chen 2023, tAB in log-rho: with rho = sigma/alpha, d(x/alpha)/drho = eps, and eps is extrapolated by a polynomial in ln rho
/// through the last 1 to 3 estimates, integrated exactly.
/// </summary>
public static class Deis
{
    internal const string Class = "DEISMultistepScheduler";

    private const int FewSteps = 15;       // below this, the last steps fall back to lower orders

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var grid = MultistepGrid.Build(config, options, new MultistepRules { LastRepeats = true });
        if (grid.Sigmas[^1] == 0) throw new Runtime.UsageException("sigmas: deis cannot end at a noise level of zero: it works in the logarithm of the level");
        var scale = config.FlowSigmas ? LevelScale.Flow : LevelScale.Preserving;
        var ring = HistoryRing.For(config.SolverOrder - 1, config.Thresholding);
        int n = grid.Times.Length;
        bool few = config.LowerOrderFinal != false && n < FewSteps;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            int known = i - options.SkipSteps, order = Math.Min(config.SolverOrder, known + 1);
            if (i == n - 1 && few) order = 1;
            else if (i == n - 2 && few) order = Math.Min(order, 2);
            var (alpha, sigma, _) = scale.Split(grid.Sigmas[i]);
            var next = scale.Split(grid.Sigmas[i + 1]);
            double[] weights = [.. Weights(Array.ConvertAll(grid.Sigmas[(i - order + 1)..(i + 2)], s => -scale.Split(s).Lambda)).Select(w => w * next.Alpha)];
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, Alpha = alpha, Sigma = sigma, X = next.Alpha / alpha, E = weights[0], History = ring.Terms(known, weights.AsSpan(1)),
                Keep = ring.Slots == 0 ? Kept.None : Kept.Epsilon, KeepSlot = ring.SlotOf(known), Reading = DpmSolverMultistep.FlowReading(config, scale, grid.Sigmas[i]),
            });
        }

        return new SamplerPlan
        {
            Name = "deis", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = ring.Slots, Timesteps = grid.Times, Sigmas = grid.Sigmas,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum, ClipRederivesEpsilon = true,
        };
    }

    // Integrals over rho of the Lagrange polynomials in ln rho, latest node first; logs are oldest to latest, then the end of the step.
    private static double[] Weights(double[] logs)
    {
        double from = logs[^2], to = logs[^1];
        // With u = ln rho: the integrals of u^k e^u, u counted from the start of the step so that nothing cancels when steps are small.
        double h = to - from;
        double[] moments = new double[logs.Length - 1], nodes = [.. logs[..^1].Reverse().Select(l => l - from)], weights = new double[nodes.Length];
        moments[0] = SolverMath.ExpM1(h);
        for (int k = 1; k < moments.Length; k++) moments[k] = SolverMath.Power(h, k) * DoubleMath.Exp(h) - k * moments[k - 1];
        for (int j = 0; j < nodes.Length; j++)
        {
            double[] polynomial = SolverMath.Lagrange(nodes, j);
            for (int k = 0; k < polynomial.Length; k++) weights[j] += polynomial[k] * moments[k];
            weights[j] *= DoubleMath.Exp(from);
        }

        return weights;
    }
}
