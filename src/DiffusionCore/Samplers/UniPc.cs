using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers;

/// <summary>
/// UniPC, Zhao et al. 2023, algorithms 1 and 2: a multistep predictor of order p and, once the network has seen its result, a corrector of
/// order p + 1 over the same step. Both start from the same latent with the same factor, so their difference is a combination of estimates:
/// the correction folds into the coefficients of the next update, and no latent but the current one is kept.
/// </summary>
public static class UniPc
{
    internal const string Class = "UniPCMultistepScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        bool varying = config.SolverType == "bh1";
        if (config.FinalSigmaZero && options.Sigmas is null or [.., 0])
        {
            if (!config.PredictX0) throw config.Problem("final_sigmas_type", "UniPC on eps (predict_x0 false) cannot end at a noise level of zero: it divides by it; use sigma_min");
            if (varying) throw config.Problem("final_sigmas_type", "UniPC with bh1 cannot end at a noise level of zero: its B(h) is the step in lambda, which is infinite then; use sigma_min, or bh2");
            if (config.LowerOrderFinal == false && config.SolverOrder > 1) throw config.Problem("lower_order_final", "must be true for UniPC to end at a noise level of zero: only the first order reaches it");
        }

        var grid = MultistepGrid.Build(config, options, new MultistepRules { HasFinalType = true, LastRepeats = true, FlowFromOne = true });
        var scale = config.FlowSigmas ? LevelScale.Flow : LevelScale.Preserving;
        var ring = HistoryRing.For(config.SolverOrder, config.Thresholding);
        int n = grid.Times.Length;
        var evaluations = new List<Evaluation>();
        double[] predicted = [];
        for (int i = options.SkipSteps; i < n; i++)
        {
            int known = i - options.SkipSteps, order = Math.Min(config.LowerOrderFinal != false ? Math.Min(config.SolverOrder, n - i) : config.SolverOrder, known + 1);
            var step = new Step(scale, grid.Sigmas, config.PredictX0, varying);
            // Weights of this estimate and of the former ones, latest first.
            var weights = new double[config.SolverOrder + 1];
            double x = step.Predict(i, order, out double[] prediction);
            for (int k = 0; k < prediction.Length; k++) weights[k] += prediction[k];
            if (known > 0 && !config.DisableCorrector.Contains(i - 1))
            {
                double[] corrected = step.Correct(i, predicted.Length);
                for (int k = 0; k < corrected.Length; k++) weights[k] += x * (corrected[k] - (k > 0 ? predicted[k - 1] : 0));
            }

            predicted = prediction;
            var (alpha, sigma, _) = scale.Split(grid.Sigmas[i]);
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, Alpha = alpha, Sigma = sigma, X = x, D = config.PredictX0 ? weights[0] : 0, E = config.PredictX0 ? 0 : weights[0], History = ring.Terms(known, weights.AsSpan(1)),
                Keep = config.PredictX0 ? Kept.Denoised : Kept.Epsilon, KeepSlot = ring.SlotOf(known), Reading = DpmSolverMultistep.FlowReading(config, scale, grid.Sigmas[i]),
            });
        }

        return new SamplerPlan
        {
            Name = "unipc", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = ring.Slots, Timesteps = grid.Times, Sigmas = grid.Sigmas,
            ThresholdRatio = config.Thresholding && config.PredictX0 ? config.ThresholdRatio : 0, ThresholdMaximum = config.ThresholdMaximum, ClipRederivesEpsilon = true,
        };
    }

    /// <summary>The weights of estimates in both updates.</summary>
    private readonly record struct Step(LevelScale Scale, double[] Sigmas, bool Data, bool Varying)
    {
        /// <summary>From level i to the next: the factor of the latent; <paramref name="weights"/> of estimates i, i - 1, ...</summary>
        public double Predict(int i, int order, out double[] weights)
        {
            var from = Scale.Split(Sigmas[i]);
            var to = Scale.Split(Sigmas[i + 1]);
            double h = to.Lambda - from.Lambda, hh = Data ? -h : h, phi = ExpM1(hh), outer = Data ? to.Alpha : to.Sigma, b = Varying ? hh : phi;
            double[] rks = Ratios(i, order, from.Lambda, h);
            double[] rhos = order switch { 1 => [], 2 => [0.5], _ => Rhos(rks[..(order - 1)], hh, b) };
            weights = new double[order];
            weights[0] = -outer * phi;
            for (int k = 1; k < order; k++)
            {
                double w = -outer * b * rhos[k - 1] / rks[k - 1];
                weights[k] += w;
                weights[0] -= w;
            }

            return Data ? to.Sigma / from.Sigma : to.Alpha / from.Alpha;
        }

        /// <summary>From level i - 1 to i with the estimate there: weights of estimates i, i - 1, ...</summary>
        public double[] Correct(int i, int order)
        {
            var from = Scale.Split(Sigmas[i - 1]);
            var to = Scale.Split(Sigmas[i]);
            double h = to.Lambda - from.Lambda, hh = Data ? -h : h, phi = ExpM1(hh), outer = Data ? to.Alpha : to.Sigma, b = Varying ? hh : phi;
            double[] rks = [.. Ratios(i - 1, order, from.Lambda, h), 1];
            double[] rhos = order == 1 ? [0.5] : Rhos(rks, hh, b);
            var weights = new double[order + 1];
            weights[1] = -outer * phi;
            for (int k = 0; k < order; k++)
            {
                double w = -outer * b * rhos[k] / rks[k];
                weights[k == order - 1 ? 0 : k + 2] += w;
                weights[1] -= w;
            }

            return weights;
        }

        private double[] Ratios(int i, int order, double lambda, double h)
        {
            var rks = new double[order - 1];
            for (int k = 1; k < order; k++) rks[k - 1] = (Scale.Split(Sigmas[i - k]).Lambda - lambda) / h;
            return rks;
        }

        // sum_k rho_k r_k^(j-1) = j! phi_(j+1)(hh) / B(h), j = 1, 2, ...; the peers' phi are divided by hh.
        private static double[] Rhos(double[] rks, double hh, double b)
        {
            int n = rks.Length;
            var rows = new double[n][];
            var right = new double[n];
            double phi = ExpM1(hh) / hh - 1, factorial = 1;
            for (int j = 1; j <= n; j++)
            {
                rows[j - 1] = [.. rks.Select(r => Power(r, j - 1))];
                right[j - 1] = phi * factorial / b;
                factorial *= j + 1;
                phi = phi / hh - 1 / factorial;
            }

            return Solve(rows, right);
        }
    }
}
