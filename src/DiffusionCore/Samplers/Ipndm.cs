using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// The improved PNDM of the Dance Diffusion models (Katherine Crowson, v-diffusion): DDIM steps on sigma = sin^2(pi t/2) with an Adams-Bashforth
/// mean of up to four estimates and no warm-up of higher order. The network predicts v and is told t in [0, 1].
/// </summary>
public static class Ipndm
{
    internal const string Class = "IPNDMScheduler";

    private const int Former = 3;

    // Stands for a signal of zero where the published code divides by it.
    private const double SmallestAlpha = 1e-8;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        if (options.Timesteps is not null) throw new UsageException("timesteps: IPNDM places its own");
        double[] levels = [.. NoiseSchedule.Linspace(1, 0, options.Steps + 1).Select(t => Square(DoubleMath.Sin(t * Math.PI / 2)))];
        if (config.TrainedBetas is { } trained)
        {
            if (trained.Length != levels.Length) throw config.Problem("trained_betas", $"IPNDM takes one per step and the final one, {levels.Length}, found {trained.Length}");
            levels = trained;
        }

        double[] times = [.. levels[..^1].Select(s => Math.Atan2(s, Alpha(s)) / Math.PI * 2)];
        return new SamplerPlan
        {
            Name = "ipndm-v", Prediction = Prediction.V, Steps = options.Steps, Slots = Former, Timesteps = times,
            Evaluations = [.. Enumerable.Range(options.SkipSteps, Math.Max(0, times.Length - options.SkipSteps)).Select(i => Evaluation(levels, times, i, i - options.SkipSteps))],
        };

        static double Square(double v) => v * v;
    }

    /// <summary>Step i of a run, with a number of former estimates in the slots: more than i where a run goes on from another.</summary>
    /// <param name="levels">sigma of each step and of the end.</param>
    public static Evaluation Evaluation(double[] levels, double[] times, int i, int known)
    {
        double sigma = levels[i], alpha = Alpha(sigma), nextSigma = levels[i + 1], nextAlpha = Alpha(nextSigma);
        double[] weights = Pndm.AdamsBashforth(known);
        // x' = alpha'*(x - sigma*e)/alpha + sigma'*e; without signal the first estimate is x itself and says nothing of x0, which is then 0.
        bool blank = alpha < SmallestAlpha && known == 0;
        double x = blank ? 0 : nextAlpha / Math.Max(alpha, SmallestAlpha), e = nextSigma - x * sigma;
        return new Evaluation
        {
            Time = times[i], Step = i, Alpha = alpha, Sigma = sigma, X = x, E = e * weights[0], Keep = Kept.Epsilon, KeepSlot = known % Former,
            History = new HistoryRing(Former).Terms(known, [.. weights[1..].Select(w => e * w)]),
        };
    }

    private static double Alpha(double sigma) => Math.Sqrt(Math.Max(0, 1 - sigma * sigma));
}
