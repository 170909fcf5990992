namespace DiffusionCore.Samplers;

/// <summary>
/// DPM-Solver and DPM-Solver++, singlestep, orders 2 and 3 (Lu et al. 2022a, algorithms 1 and 2; 2022b, algorithm 1), with every intermediate
/// point a point of the grid: a step of order k spans k intervals and starts again from the latent where the first of them started.
/// </summary>
public static class DpmSolverSinglestep
{
    internal const string Class = "DPMSolverSinglestepScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var algorithm = DpmAlgorithm.Of(config);
        if (!algorithm.Data && algorithm.Noisy) throw config.Problem("algorithm_type", $"{config.AlgorithmType} has no singlestep form; use sde-dpmsolver++");
        if (!algorithm.Data && config.FinalSigmaZero)
            throw config.Problem("final_sigmas_type", $"{config.AlgorithmType} cannot end at a noise level of zero: it divides by it; use sigma_min, or dpmsolver++");
        var grid = MultistepGrid.Build(config, options, new MultistepRules { Clipped = true, LinspaceOnly = true, HasFinalType = true });
        var scale = config.FlowSigmas ? LevelScale.Flow : LevelScale.Preserving;
        int n = grid.Times.Length, slots = config.SolverOrder - 1;
        int[] orders = Orders(config, n);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            int known = i - options.SkipSteps, order = Math.Min(orders[i], known + 1);
            evaluations.Add(Update(config, algorithm, scale, grid.Sigmas, i, order, slots) with { Time = grid.Times[i], Step = i });
        }

        return new SamplerPlan
        {
            Name = $"{DpmAlgorithm.Word(config)}-{config.SolverOrder}s", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = slots + (slots > 0 ? 1 : 0), Timesteps = grid.Times, Sigmas = grid.Sigmas,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum, ClipRederivesEpsilon = true,
        };
    }

    // 1 2 3 1 2 3 ...: how many intervals the update after each evaluation spans. What does not divide evenly, and the end at zero, are of lower order.
    private static int[] Orders(SchedulerConfig config, int n)
    {
        int order = config.SolverOrder;
        bool lowers = config.LowerOrderFinal == true || n % order != 0 || config.FinalSigmaZero;
        int[] orders = [.. Enumerable.Range(0, n).Select(i => i % order + 1)];
        if (lowers && n % order == 0)
        {
            orders[^1] = 1;
            if (order == 2 && n >= 2) orders[^2] = 1;
            if (order == 3) (orders[^3], orders[^2], orders[^1]) = (1, 2, 1);
        }

        if (config.FinalSigmaZero) orders[^1] = 1;
        return orders;
    }

    private static Evaluation Update(SchedulerConfig config, DpmAlgorithm algorithm, LevelScale scale, double[] sigmas, int i, int order, int slots)
    {
        int start = i - order + 1;
        var here = scale.Split(sigmas[i]);
        var from = scale.Split(sigmas[start]);
        var to = scale.Split(sigmas[i + 1]);
        var phi = DpmIntegrals.Over(algorithm, from, to);
        double h = to.Lambda - from.Lambda, r0 = (here.Lambda - from.Lambda) / h;      // of this estimate
        double own, first = phi.Phi1, second = 0;                                      // weights of this estimate, of that at the start and of that between
        if (order == 1)
        {
            (own, first) = (first, 0);
        }
        else if (order == 2)
        {
            own = (config.HeunCorrection ? phi.Phi2 : phi.Phi1 / 2) / r0;
            first -= own;
        }
        else
        {
            double r1 = (scale.Split(sigmas[i - 1]).Lambda - from.Lambda) / h, spread = r0 - r1;
            // D = (m0 - m2)/r0 and d = (m1 - m2)/r1, differences from the start: m' = (r0 d - r1 D)/(r0 - r1), m''/2 = (D - d)/(r0 - r1).
            double far = phi.Phi2, near = 0;
            if (config.HeunCorrection) (far, near) = ((-phi.Phi2 * r1 + 2 * phi.Phi3) / spread, (phi.Phi2 * r0 - 2 * phi.Phi3) / spread);
            own = far / r0;
            second = near / r1;
            first -= own + second;
        }

        var history = new List<HistoryTerm>();
        if (order > 1) history.AddRange([new HistoryTerm(slots, phi.X), new HistoryTerm(0, first)]);
        if (second != 0) history.Add(new HistoryTerm(1, second));
        bool keeps = order <= slots;                                                   // what the next updates of this span read
        return new Evaluation
        {
            Time = 0, Alpha = here.Alpha, Sigma = here.Sigma, X = order == 1 ? phi.X : 0, D = algorithm.Data ? own : 0, E = algorithm.Data ? 0 : own, N = phi.N, DrawsNoise = algorithm.Noisy, History = history,
            Keep = keeps ? algorithm.Keeps : Kept.None, KeepSlot = keeps ? order - 1 : 0, SampleSlot = order == 1 && slots > 0 ? slots : -1,
            Reading = DpmSolverMultistep.FlowReading(config, scale, sigmas[i]),
        };
    }
}
