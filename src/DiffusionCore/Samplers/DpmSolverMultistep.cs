namespace DiffusionCore.Samplers;

/// <summary>
/// DPM-Solver++ and DPM-Solver, multistep, through 1 to 3 estimates (Lu et al. 2022a, 2022b), their SDE forms, and the inversion from data to noise
/// (Wallace et al. 2023, section 3, with this solver). x = alpha*x0 + sigma*eps; lambda = ln(alpha/sigma).
/// </summary>
public static class DpmSolverMultistep
{
    internal const string Class = "DPMSolverMultistepScheduler";

    internal const string InverseClass = "DPMSolverMultistepInverseScheduler";

    private const int FewSteps = 15;       // below this, the last steps fall back to lower orders

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var algorithm = DpmAlgorithm.Of(config);
        if (!algorithm.Data && config.FinalSigmaZero)
            throw config.Problem("final_sigmas_type", $"{config.AlgorithmType} cannot end at a noise level of zero: it divides by it; use sigma_min, or dpmsolver++");
        var grid = MultistepGrid.Build(config, options, new MultistepRules { Clipped = true, HasFinalType = true, CutsForCosine = true });
        string name = config.SolverOrder == 2 && algorithm == new DpmAlgorithm(true, false) ? "dpmpp_2m" : $"{DpmAlgorithm.Word(config)}-{config.SolverOrder}m";
        return Plan(name, config, options, grid, config.FlowSigmas ? LevelScale.Flow : LevelScale.Preserving, config.FinalSigmaZero);
    }

    /// <summary>The same solver from data to noise.</summary>
    public static SamplerPlan Inverse(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(InverseClass);
        if (DpmAlgorithm.Of(config).Noisy) throw config.Problem("algorithm_type", $"{config.AlgorithmType} adds noise, which is undefined towards more noise; use dpmsolver++ or dpmsolver");
        if (config.FlowSigmas) throw config.Problem("use_flow_sigmas", "the inverse solver has no levels of rectified flow");
        if (options.Sigmas is not null || options.Timesteps is not null) throw new Runtime.UsageException("timesteps, sigmas: the inverse solver places its own");
        var grid = MultistepGrid.Build(config, options, new MultistepRules { Clipped = true, Rising = true, LastRepeats = true });
        return Plan("dpm-inverse", config, options, grid, LevelScale.Preserving, endsAtZero: false);
    }

    /// <summary>The steps on given levels.</summary>
    internal static SamplerPlan Plan(string name, SchedulerConfig config, SamplerOptions options, SigmaGrid grid, LevelScale scale, bool endsAtZero)
    {
        var algorithm = DpmAlgorithm.Of(config);
        if (!algorithm.Data && algorithm.Noisy && config.SolverOrder == 3) throw config.Problem("solver_order", $"{config.AlgorithmType} has orders 1 and 2, found 3");
        int n = grid.Times.Length;
        var evaluations = new List<Evaluation>();
        bool few = config.LowerOrderFinal != false && n < FewSteps;
        for (int i = options.SkipSteps; i < n; i++)
        {
            int known = i - options.SkipSteps, order = Math.Min(config.SolverOrder, known + 1);                     // former estimates
            if (i == n - 1 && (config.EulerAtFinal || few || endsAtZero)) order = 1;
            else if (i == n - 2 && few) order = Math.Min(order, 2);
            evaluations.Add(Update(config, algorithm, scale, grid.Sigmas, i, order, known) with { Time = grid.Times[i], Step = i });
        }

        return new SamplerPlan
        {
            Name = name, Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = Slots(config), Timesteps = grid.Times, Sigmas = grid.Sigmas,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum, ClipRederivesEpsilon = true,
        };
    }

    private static Evaluation Update(SchedulerConfig config, DpmAlgorithm algorithm, LevelScale scale, double[] sigmas, int i, int order, int known)
    {
        var from = scale.Split(sigmas[i]);
        var to = scale.Split(sigmas[i + 1]);
        var phi = DpmIntegrals.Over(algorithm, from, to);
        double h = to.Lambda - from.Lambda, own = phi.Phi1, first = 0, second = 0;
        if (order == 2)
        {
            double r0 = (from.Lambda - scale.Split(sigmas[i - 1]).Lambda) / h, weight = config.HeunCorrection ? phi.Phi2 : phi.Phi1 / 2;
            own += weight / r0;
            first -= weight / r0;
        }
        else if (order == 3)
        {
            double previous = scale.Split(sigmas[i - 1]).Lambda, r0 = (from.Lambda - previous) / h, r1 = (previous - scale.Split(sigmas[i - 2]).Lambda) / h;
            // Half of what m'' is: with it the method would be of third order, without it is of second (SolverOrderTests). As published: the same seed
            // gives the same image.
            double mix = r0 / (r0 + r1), sum = 1 / (r0 + r1);
            double near = phi.Phi2 * (1 + mix) + phi.Phi3 * sum, far = -phi.Phi2 * mix - phi.Phi3 * sum;            // of (m0 - m1)/r0 and (m1 - m2)/r1
            own += near / r0;
            first += -near / r0 + far / r1;
            second -= far / r1;
        }

        int slots = Math.Max(1, Slots(config));
        var history = new List<HistoryTerm>();
        if (first != 0) history.Add(new HistoryTerm((known - 1) % slots, first));
        if (second != 0) history.Add(new HistoryTerm((known - 2) % slots, second));
        return new Evaluation
        {
            Time = 0, Alpha = from.Alpha, Sigma = from.Sigma, X = phi.X, D = algorithm.Data ? own : 0, E = algorithm.Data ? 0 : own, N = phi.N, DrawsNoise = algorithm.Noisy, History = history,
            Keep = config.SolverOrder == 1 ? Kept.None : algorithm.Keeps, KeepSlot = known % slots, Reading = FlowReading(config, scale, sigmas[i]),
        };
    }

    // Former estimates. An estimate may overwrite the oldest as that is read; with a threshold it takes two passes and needs a place of its own.
    private static int Slots(SchedulerConfig config) => config.SolverOrder == 1 ? 0 : config.Thresholding ? config.SolverOrder : config.SolverOrder - 1;

    /// <summary>The peers read a flow prediction as x0 = x - s*m whatever the level s means; null where that is what x = (1 - s)*x0 + s*eps says.</summary>
    internal static Runtime.StepNumbers? FlowReading(SchedulerConfig config, LevelScale scale, double level)
    {
        if (config.Prediction != Runtime.Prediction.Flow || scale == LevelScale.Flow) return null;
        var (alpha, sigma, _) = scale.Split(level);
        double p = 1 / sigma, q = -alpha / sigma;
        return new(1, -level, p + q, -q * level, p, q);
    }
}
