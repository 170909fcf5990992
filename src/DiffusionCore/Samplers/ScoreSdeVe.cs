using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// Predictor-corrector sampling of the variance-exploding SDE, Song et al. 2021, algorithms 2 and 4: at each level Langevin steps whose size follows
/// from the norms of score and noise, then one step of the reverse diffusion. The network answers the score and is told the level.
/// </summary>
public static class ScoreSdeVe
{
    internal const string Class = "ScoreSdeVeScheduler";

    private const double DefaultSigmaMin = 0.01, DefaultSigmaMax = 1348;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        if (options.Timesteps is not null || options.Sigmas is not null) throw new UsageException("timesteps, sigmas: the score SDE places its own");
        double low = config.SigmaMin ?? DefaultSigmaMin, high = config.SigmaMax ?? DefaultSigmaMax;
        int n = options.Steps;
        double[] times = NoiseSchedule.Linspace(1, config.SamplingEpsilon, n), levels = [.. times.Select(t => low * SolverMath.Pow(high / low, t))], discrete = SigmaSchedule.Exponential(low, high, n);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            // A score s says denoised = x + sigma^2 s; E multiplies the score itself.
            double sigma = levels[i];
            var score = new Evaluation { Time = sigma, Step = i, Alpha = 1, Sigma = sigma, Reading = new StepNumbers(1, sigma * sigma, 0, 1, -1 / (sigma * sigma), 1 / (sigma * sigma)), X = 1 };
            for (int k = 0; k < config.CorrectSteps; k++) evaluations.Add(score with { E = 1, N = 1, LangevinRatio = config.LangevinSnr });
            // Exponential counts down from the highest level.
            int index = (int)(times[i] * (n - 1));
            double level = discrete[n - 1 - index], below = index == 0 ? 0 : discrete[n - index], variance = level * level - below * below;
            evaluations.Add(score with { E = variance, N = Math.Sqrt(variance) });
        }

        return new SamplerPlan
        {
            Name = "score-sde-ve", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Timesteps = times, Sigmas = [.. levels, 0], InitialSigma = high, BatchNorms = options.BatchNorms,
        };
    }
}
