namespace DiffusionCore.Samplers;

/// <summary>
/// Linear multistep in sigma (Katherine Crowson's lms): dx/dsigma = eps, and eps is extrapolated by a polynomial in sigma through the last 1 to 4
/// estimates, integrated exactly over the step.
/// </summary>
public static class Lms
{
    internal const string Class = "LMSDiscreteScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var grid = SigmaGrid.Build(config with { FinalSigmaZero = true, LogLinearInterpolation = false, ContinuousTimesteps = false }, options);
        int n = grid.Times.Length;
        var ring = HistoryRing.For(options.Order - 1, thresholding: false);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            // Started midway, the peer fits the polynomial through the levels before the start too and drops the estimates that it does not have.
            int known = i - options.SkipSteps, order = Math.Min(options.Order, i + 1);
            double[] weights = Weights(grid.Sigmas, i, order)[..Math.Min(order, known + 1)];
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, InputScale = SigmaGrid.InputScale(grid.Sigmas[i]), Alpha = 1, Sigma = grid.Sigmas[i], X = 1, E = weights[0], History = ring.Terms(known, weights.AsSpan(1)),
                Keep = ring.Slots == 0 ? Kept.None : Kept.Epsilon, KeepSlot = ring.SlotOf(known),
            });
        }

        return new SamplerPlan
        {
            Name = "lms", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = ring.Slots, Timesteps = grid.Times, Sigmas = grid.Sigmas, InitialSigma = grid.InitialSigma(config),
        };
    }

    // Integrals from level i to i + 1 of the Lagrange polynomials through levels i, i - 1, ...
    private static double[] Weights(double[] sigmas, int i, int order)
    {
        double[] nodes = [.. Enumerable.Range(0, order).Select(k => sigmas[i - k] - sigmas[i])], weights = new double[order];
        double h = sigmas[i + 1] - sigmas[i];
        for (int j = 0; j < order; j++)
        {
            double[] polynomial = SolverMath.Lagrange(nodes, j);
            for (int k = 0; k < order; k++) weights[j] += polynomial[k] * SolverMath.Power(h, k + 1) / (k + 1);
        }

        return weights;
    }
}
