using DiffusionCore.Kernels.Host;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers;

/// <summary>
/// SA-Solver, Xue et al. 2023, algorithm 1: stochastic Adams-Bashforth predictor and Adams-Moulton corrector with variance control tau, which
/// is 1 between the timesteps 200 and 800 and 0 elsewhere. Predictor and corrector of a step share latent, factor and noise; as with UniPC the
/// correction is a combination of estimates and folds into the next update.
/// </summary>
public static class SaSolver
{
    internal const string Class = "SASolverScheduler";

    private const double NoisyFrom = 200, NoisyTo = 800;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        bool data = config.AlgorithmType != "noise_prediction";
        if (config.PredictorOrder > 3) throw config.Problem("predictor_order", $"expected 1 to 3, found {config.PredictorOrder}: the fused step reads three former estimates");
        var grid = MultistepGrid.Build(config, options, new MultistepRules { Clipped = true, LastRepeats = true });
        if (grid.Sigmas[^1] == 0) throw new Runtime.UsageException("sigmas: sa_solver cannot end at a noise level of zero: it works in the logarithm of the level");
        var scale = config.FlowSigmas ? LevelScale.Flow : LevelScale.Preserving;
        int former = Math.Max(config.PredictorOrder, config.CorrectorOrder - 1), n = grid.Times.Length;
        var ring = HistoryRing.For(former, config.Thresholding);
        var evaluations = new List<Evaluation>();
        double[] predicted = [];
        int correctorOrder = 0;
        for (int i = options.SkipSteps; i < n; i++)
        {
            int known = i - options.SkipSteps;
            // Orders fall towards the end, and grow with what is known (of which the network's buffer holds 'former' at most).
            bool falls = config.LowerOrderFinal != false;
            int order = Math.Min(falls ? Math.Min(config.PredictorOrder, n - i) : config.PredictorOrder, Math.Min(known, former) + 1);
            var from = scale.Split(grid.Sigmas[i]);
            var to = scale.Split(grid.Sigmas[i + 1]);
            double tau = Tau(grid.Times[i]), h = to.Lambda - from.Lambda;
            double x = data ? DoubleMath.Exp(-tau * tau * h) * to.Sigma / from.Sigma : to.Alpha / from.Alpha;
            var weights = new double[former + 1];
            double[] prediction = Bashforth(scale, grid.Sigmas, i, order, tau, data);
            prediction.CopyTo(weights, 0);
            if (known > 0)
            {
                double[] corrected = Moulton(scale, grid.Sigmas, i, correctorOrder, Tau(grid.Times[i - 1]), data);
                for (int k = 0; k < weights.Length; k++) weights[k] += x * ((k < corrected.Length ? corrected[k] : 0) - (k > 0 && k <= predicted.Length ? predicted[k - 1] : 0));
            }

            predicted = prediction;
            correctorOrder = Math.Min(falls ? Math.Min(config.CorrectorOrder, n - i + 1) : config.CorrectorOrder, Math.Min(known, former) + 2);
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, Alpha = from.Alpha, Sigma = from.Sigma, X = x, D = data ? weights[0] : 0, E = data ? 0 : weights[0],
                N = data ? to.Sigma * Math.Sqrt(-ExpM1(-2 * tau * tau * h)) : tau * to.Sigma * Math.Sqrt(ExpM1(2 * h)), DrawsNoise = true, History = ring.Terms(known, weights.AsSpan(1)),
                Keep = data ? Kept.Denoised : Kept.Epsilon, KeepSlot = ring.SlotOf(known), Reading = DpmSolverMultistep.FlowReading(config, scale, grid.Sigmas[i]),
            });
        }

        return new SamplerPlan
        {
            Name = "sa_solver", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = ring.Slots, Timesteps = grid.Times, Sigmas = grid.Sigmas,
            ThresholdRatio = config.Thresholding ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum, ClipRederivesEpsilon = true,
        };
    }

    private static double Tau(double time) => time is >= NoisyFrom and <= NoisyTo ? 1 : 0;

    // Weights of estimates i, i - 1, ... in the step from level i to the next.
    private static double[] Bashforth(LevelScale scale, double[] sigmas, int i, int order, double tau, bool data)
    {
        double from = scale.Split(sigmas[i]).Lambda, h = scale.Split(sigmas[i + 1]).Lambda - from;
        double[] weights = Integrals(scale, sigmas, i + 1, i, order, tau, data);
        if (order == 2 && data && h != 0)
        {
            double change = Midpoint(h, tau) * h / (from - scale.Split(sigmas[i - 1]).Lambda);
            weights[0] += change * Outer(scale, sigmas[i + 1], tau);
            weights[1] -= change * Outer(scale, sigmas[i + 1], tau);
        }

        return weights;
    }

    // Weights of estimates i, i - 1, ... in the step from level i - 1 to i.
    private static double[] Moulton(LevelScale scale, double[] sigmas, int i, int order, double tau, bool data)
    {
        double h = scale.Split(sigmas[i]).Lambda - scale.Split(sigmas[i - 1]).Lambda;
        double[] weights = Integrals(scale, sigmas, i, i, order, tau, data);
        if (order == 2 && data && h != 0)
        {
            weights[0] += Midpoint(h, tau) * Outer(scale, sigmas[i], tau);
            weights[1] -= Midpoint(h, tau) * Outer(scale, sigmas[i], tau);
        }

        return weights;
    }

    // The published code's second order replaces the exact integral of the first divided difference by h^2/2, which is better by a constant.
    private static double Midpoint(double h, double tau)
    {
        double a = 1 + tau * tau;
        return h / 2 - (h * a + ExpM1(-a * h)) / (a * a * h);
    }

    private static double Outer(LevelScale scale, double level, double tau) => (1 + tau * tau) * scale.Split(level).Alpha;

    // Integrals over the step ending at level 'end' of the Lagrange polynomials through levels node, node - 1, ..., against the kernel of the
    // exponential integrator: a e^(a (lambda - end)), a = 1 + tau^2, for denoised; e^-(lambda - end) for eps.
    private static double[] Integrals(LevelScale scale, double[] sigmas, int end, int node, int order, double tau, bool data)
    {
        var to = scale.Split(sigmas[end]);
        double h = to.Lambda - scale.Split(sigmas[end - 1]).Lambda, a = 1 + tau * tau, rate = data ? a : -1;
        // Moments of u^k e^(rate u) over [-h, 0], u = lambda - end.
        var moments = new double[order];
        moments[0] = -ExpM1(-rate * h) / rate;
        for (int k = 1; k < order; k++) moments[k] = (-Power(-h, k) * DoubleMath.Exp(-rate * h) - k * moments[k - 1]) / rate;
        double[] nodes = [.. Enumerable.Range(0, order).Select(k => scale.Split(sigmas[node - k]).Lambda - to.Lambda)], weights = new double[order];
        double outer = data ? a * to.Alpha : -a * to.Sigma;
        for (int j = 0; j < order; j++)
        {
            double[] polynomial = Lagrange(nodes, j);
            for (int k = 0; k < order; k++) weights[j] += outer * polynomial[k] * moments[k];
        }

        return weights;
    }
}
