using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Sde;

/// <summary>Steps of the reverse SDE.</summary>
public enum Predictor
{
    /// <summary>Correctors alone (annealed Langevin dynamics).</summary>
    None,

    /// <summary>The forward process's own discretisation, reversed.</summary>
    ReverseDiffusion,

    /// <summary>dt of drift, sqrt(dt) of diffusion.</summary>
    EulerMaruyama,

    /// <summary>DDPM's step, and its like for the exploding process.</summary>
    Ancestral,
}

/// <summary>
/// Predictor-corrector sampling of the reverse SDE (Song et al. 2021, algorithms 1 to 5): at each time first Langevin steps with a signal-to-noise ratio r,
/// <code>x = x + a s + sqrt(2a) z,  a = 2 alpha (r |z|/|s|)^2</code>
/// with the score s = -eps/Deviation, then the predictor. (The published code corrects before it predicts.) The last step leaves its noise out.
/// </summary>
public static class PredictorCorrector
{
    /// <param name="steps">N; dt = 1/N.</param>
    /// <param name="ratio">r of the corrector: 0.16 for the exploding process and 0.01 to 0.16 for the others in the paper.</param>
    /// <param name="corrections">Langevin steps at each time; 0 for none.</param>
    /// <param name="last">The time at which the run ends: 1e-3 for the preserving processes, 1e-5 for the exploding one.</param>
    /// <param name="networkTime">What the network is told at t; null for t itself.</param>
    /// <exception cref="UsageException">Values out of range, or too few steps for the process.</exception>
    public static SamplerPlan Plan(
        ScoreProcess process, int steps, Predictor predictor = Predictor.ReverseDiffusion, double ratio = 0.16, int corrections = 1, double? last = null,
        Func<double, double>? networkTime = null, Prediction prediction = Prediction.Epsilon)
    {
        double end = last ?? (process.Explodes ? 1e-5 : 1e-3);
        if (steps < 2) throw new UsageException($"steps: expected 2 or more, found {steps}");
        if (!(ratio > 0 && ratio < 10)) throw new UsageException(FormattableString.Invariant($"signal-to-noise ratio: expected a number above 0 and below 10, found {ratio}"));
        if (corrections < 0 || (corrections == 0 && predictor == Predictor.None)) throw new UsageException($"corrections: expected 0 or more, and 1 or more without a predictor, found {corrections}");
        if (!(end > 0 && end < 1)) throw new UsageException(FormattableString.Invariant($"last time: expected a number between 0 and 1, found {end}"));
        if (!process.Explodes && process.Beta(1) >= steps) throw new UsageException(FormattableString.Invariant($"steps: beta of this process reaches {process.Beta(1)}; a step's share beta/steps must stay below 1: use more than {process.Beta(1)} steps, found {steps}"));
        double[] times = NoiseSchedule.Linspace(1, end, steps);
        var evaluations = new List<Evaluation>();
        for (int i = 0; i < steps; i++)
        {
            double t = times[i], deviation = process.Deviation(t), beta = process.Explodes ? 0 : process.Beta(t) / steps;
            var at = new Evaluation { Time = networkTime?.Invoke(t) ?? t, Step = i, Alpha = process.Mean(t), Sigma = deviation, X = 1 };
            for (int k = 0; k < corrections; k++)
                evaluations.Add(at with { E = -(1 - beta) * deviation, N = Math.Sqrt(1 - beta) * deviation, DrawsNoise = true, LangevinRatio = ratio });

            if (predictor == Predictor.None) continue;
            double next = i + 1 < steps ? process.Deviation(times[i + 1]) : 0, gap = deviation * deviation - next * next;
            // x' = keep x + gain s + noise z.
            var (keep, gain, noise) = predictor switch
            {
                Predictor.EulerMaruyama => (1 - process.Drift(t) / steps, process.Diffusion(t) / steps, Math.Sqrt(process.Diffusion(t) / steps)),
                Predictor.Ancestral when process.Explodes => (1, gap, Math.Sqrt(next * next * gap) / deviation),
                Predictor.Ancestral => (1 / Math.Sqrt(1 - beta), beta / Math.Sqrt(1 - beta), Math.Sqrt(beta)),
                _ when process.Explodes => (1, gap, Math.Sqrt(gap)),
                _ when process.Damps => (1 - process.Drift(t) / steps, process.Diffusion(t) / steps, Math.Sqrt(process.Diffusion(t) / steps)),
                _ => (2 - Math.Sqrt(1 - beta), beta, Math.Sqrt(beta)),
            };
            evaluations.Add(at with { X = keep, E = -gain / deviation, N = i + 1 < steps ? noise : 0, DrawsNoise = i + 1 < steps });
        }

        return new SamplerPlan
        {
            Name = "predictor-corrector", Prediction = prediction, Evaluations = evaluations, Steps = steps, Timesteps = [.. evaluations.Select(e => e.Time)],
            InitialSigma = process.Explodes ? process.Deviation(1) : 1,
        };
    }
}
