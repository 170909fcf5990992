using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers;

/// <summary>
/// DPM-Solver++ and DPM-Solver, multistep, orders 1 to 3 (Lu et al. 2022a, 2022b), and their SDE forms. x = alpha*x0 + sigma*eps with
/// alpha^2 + sigma^2 = 1; lambda = ln(alpha/sigma), h the step in lambda. The data forms (++) extrapolate denoised, the others eps.
/// </summary>
public static class DpmSolverMultistep
{
    internal const string Class = "DPMSolverMultistepScheduler";

    private const int FewSteps = 15;       // below this, the last steps fall back to lower orders

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        bool data = config.AlgorithmType.EndsWith("++", StringComparison.Ordinal), noisy = config.AlgorithmType.StartsWith("sde", StringComparison.Ordinal);
        if (!data && config.FinalSigmaZero) throw config.Problem("final_sigmas_type", $"{config.AlgorithmType} cannot end at a noise level of zero: it divides by it; use sigma_min, or dpmsolver++");
        if (!data && noisy && config.SolverOrder == 3) throw config.Problem("solver_order", $"{config.AlgorithmType} has orders 1 and 2, found 3");
        var grid = Grid(config, options);
        int n = grid.Times.Length;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            int known = i - options.SkipSteps;                             // former estimates
            bool few = config.LowerOrderFinal && n < FewSteps;
            int order = Math.Min(config.SolverOrder, known + 1);
            if (i == n - 1 && (config.EulerAtFinal || few || config.FinalSigmaZero)) order = 1;
            else if (i == n - 2 && few) order = Math.Min(order, 2);
            evaluations.Add(Update(grid.Sigmas, i, order, data, noisy, config.HeunCorrection, known) with { Time = grid.Times[i], Step = i });
        }

        return new SamplerPlan
        {
            Name = config.SolverOrder == 2 && data && !noisy ? "dpmpp_2m" : $"{config.AlgorithmType}-{config.SolverOrder}m", Prediction = config.Prediction, Evaluations = evaluations, Steps = n,
            Slots = Slots(config), Timesteps = grid.Times, Sigmas = grid.Sigmas, ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0,
            ThresholdMaximum = config.ThresholdMaximum, ClipRederivesEpsilon = true,
        };

        Evaluation Update(double[] sigmas, int i, int order, bool data, bool noisy, bool heun, int known)
        {
            var (alpha, sigma, lambda) = Split(sigmas[i]);
            var (alphaNext, sigmaNext, lambdaNext) = Split(sigmas[i + 1]);
            double h = lambdaNext - lambda, x, m, noise = 0, phi1, phi2 = 0, phi3 = 0;
            // phi1 multiplies the estimate, phi2 its first and phi3 its second divided difference.
            if (data && !noisy)
            {
                x = sigmaNext / sigma;
                phi1 = -alphaNext * ExpM1(-h);
                phi2 = alphaNext * (ExpM1(-h) / h + 1);
                phi3 = -alphaNext * ((ExpM1(-h) + h) / (h * h) - 0.5);
            }
            else if (data)
            {
                x = sigmaNext / sigma * (ExpM1(-h) + 1);
                phi1 = -alphaNext * ExpM1(-2 * h);
                phi2 = alphaNext * (ExpM1(-2 * h) / (2 * h) + 1);
                // The expansion has +0.5 here; the peers have -0.5, and third order is of no use then. Theirs is kept: the same seed gives the same image.
                phi3 = -alphaNext * ((ExpM1(-2 * h) + 2 * h) / (4 * h * h) + 0.5);
                noise = sigmaNext * Math.Sqrt(-ExpM1(-2 * h));
            }
            else
            {
                double twice = noisy ? 2 : 1;
                x = alphaNext / alpha;
                phi1 = -twice * sigmaNext * ExpM1(h);
                phi2 = -twice * sigmaNext * (ExpM1(h) / h - 1);
                phi3 = -twice * sigmaNext * ((ExpM1(h) - h) / (h * h) - 0.5);
                if (noisy) noise = sigmaNext * Math.Sqrt(ExpM1(2 * h));
            }

            if (double.IsInfinity(h)) (phi2, phi3) = (0, 0);               // the step to zero noise is of first order
            double own = phi1, first = 0, second = 0;
            if (order == 2)
            {
                double r0 = (lambda - Split(sigmas[i - 1]).Lambda) / h, weight = heun ? phi2 : phi1 / 2;
                own += weight / r0;
                first -= weight / r0;
            }
            else if (order == 3)
            {
                double previous = Split(sigmas[i - 1]).Lambda, r0 = (lambda - previous) / h, r1 = (previous - Split(sigmas[i - 2]).Lambda) / h;
                double mix = r0 / (r0 + r1), sum = 1 / (r0 + r1);
                double near = phi2 * (1 + mix) + phi3 * sum, far = -phi2 * mix - phi3 * sum;   // of (m0 - m1)/r0 and (m1 - m2)/r1
                own += near / r0;
                first += -near / r0 + far / r1;
                second -= far / r1;
            }

            m = own;
            int slots = Math.Max(1, Slots(config));
            var history = new List<HistoryTerm>();
            if (first != 0) history.Add(new HistoryTerm((known - 1) % slots, first));
            if (second != 0) history.Add(new HistoryTerm((known - 2) % slots, second));
            return new Evaluation
            {
                Time = 0, Alpha = alpha, Sigma = sigma, X = x, D = data ? m : 0, E = data ? 0 : m, N = noise, DrawsNoise = noisy, History = history,
                Keep = config.SolverOrder == 1 ? Kept.None : data ? Kept.Denoised : Kept.Epsilon, KeepSlot = known % slots,
            };
        }
    }

    // Former estimates. An estimate may overwrite the oldest as that is read; with a threshold it takes two passes and needs a place of its own.
    private static int Slots(SchedulerConfig config) => config.SolverOrder == 1 ? 0 : config.Thresholding ? config.SolverOrder : config.SolverOrder - 1;

    private static (double Alpha, double Sigma, double Lambda) Split(double level)
    {
        double alpha = 1 / Math.Sqrt(level * level + 1);
        return (alpha, level * alpha, level == 0 ? double.PositiveInfinity : -DoubleMath.Log(level));
    }

    private static SigmaGrid Grid(SchedulerConfig config, SamplerOptions options)
    {
        var schedule = NoiseSchedule.Build(config, finiteSigmas: true);
        double[] table = schedule.Sigmas(), logs = Array.ConvertAll(table, DoubleMath.Log);
        double last = config.FinalSigmaZero ? 0 : table[0];
        if (options.Sigmas is { } given)
        {
            return new SigmaGrid(given, Array.ConvertAll(given[..^1], s => Math.Round(SigmaGrid.TimeOf(s, logs))));
        }

        // Training steps noisier than lambda_min_clipped are left out (unbounded lambda of the cosine schedule).
        int top = table.Length - Array.FindAll(table, s => -DoubleMath.Log(s) < config.LambdaMinClipped).Length;
        double[] times = options.Timesteps ?? NoiseSchedule.SpacedTimesteps(
            config.Spacing!, top, options.Steps, config.StepsOffset, options.Steps + 1);
        double[] levels;
        if (config.Spacing == "trailing" && options.Timesteps is null)
        {
            double stride = (double)config.TrainSteps / options.Steps;
            int count = (int)Math.Ceiling(top / stride);
            times = [.. Enumerable.Range(0, count).Select(i => Math.Round(top - i * stride) - 1)];
        }

        if (config.SigmaSchedule.Length > 0)
        {
            levels = SigmaSchedule.Build(config.SigmaSchedule, config.SigmaMin ?? table[0], config.SigmaMax ?? table[^1], times.Length);
            // The network is told whole training steps; the peers round in two of the schedules and cut in the others.
            bool rounds = config.SigmaSchedule is "karras" or "lu" && config.BetaSchedule != "squaredcos_cap_v2";
            times = Array.ConvertAll(levels, s => rounds ? Math.Round(SigmaGrid.TimeOf(s, logs)) : Math.Truncate(SigmaGrid.TimeOf(s, logs)));
        }
        else
        {
            levels = Array.ConvertAll(times, t => NoiseSchedule.Interpolate(t, table));
        }

        return new SigmaGrid([.. levels, last], times);
    }
}
