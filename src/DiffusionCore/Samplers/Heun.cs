namespace DiffusionCore.Samplers;

/// <summary>
/// Heun's method on dx/dsigma = (x - denoised)/sigma, Karras et al. 2022, algorithm 1: an Euler step, then the mean of both slopes.
/// Two evaluations per step, one for the step to zero.
/// </summary>
public static class Heun
{
    internal const string Class = "HeunDiscreteScheduler";

    private const int SavedSample = 0;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var grid = SigmaGrid.Build(config with { FinalSigmaZero = true, LogLinearInterpolation = false, ContinuousTimesteps = false }, options);
        var evaluations = new List<Evaluation>();
        int n = grid.Times.Length;
        for (int i = options.SkipSteps; i < n; i++)
        {
            double sigma = grid.Sigmas[i], next = grid.Sigmas[i + 1], step = next - sigma;
            var euler = new Evaluation { Time = grid.Times[i], Step = i, InputScale = SigmaGrid.InputScale(sigma), Alpha = 1, Sigma = sigma, X = next / sigma, D = 1 - next / sigma };
            if (next == 0)
            {
                evaluations.Add(euler);
                break;
            }

            // The slope at the start follows from both latents, so keeping the first suffices.
            evaluations.Add(euler with { Keep = Kept.Sample, KeepSlot = SavedSample });
            // x' = x_s + step/2 (d1 + d2) with d1 = (x - x_s)/step: x' = (x_s + x)/2 + step/2 d2, d2 = (x - denoised)/next.
            double half = step / 2 / next;
            evaluations.Add(new Evaluation
            {
                Time = i + 1 < n ? grid.Times[i + 1] : grid.FinalTime, Step = i, InputScale = SigmaGrid.InputScale(next), Alpha = 1, Sigma = next, X = 0.5 + half, D = -half, History = [new(SavedSample, 0.5)],
            });
        }

        return new SamplerPlan
        {
            Name = "heun", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = 1, Sigmas = Repeat(grid.Sigmas), Timesteps = [.. Repeat([.. grid.Times, 0])[..^1]],
            InitialSigma = grid.InitialSigma(config), Clip = config.ClipSample == true ? config.ClipRange : double.PositiveInfinity,
        };
    }

    // a, b, b, c, c, ..., last: each inner level is seen twice.
    private static double[] Repeat(double[] v) => [v[0], .. v[1..^1].SelectMany(x => new[] { x, x }), v[^1]];
}
