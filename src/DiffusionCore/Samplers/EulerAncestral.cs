namespace DiffusionCore.Samplers;

/// <summary>
/// Ancestral sampling in sigma (Katherine Crowson's euler_ancestral; the posterior of Song et al. 2021 in VE form): an Euler step to a level below
/// the next, then noise up to it.
/// </summary>
public static class EulerAncestral
{
    internal const string Class = "EulerAncestralDiscreteScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var grid = SigmaGrid.Build(config with { FinalSigmaZero = true, LogLinearInterpolation = false, ContinuousTimesteps = false }, options);
        var evaluations = new List<Evaluation>();
        int n = grid.Times.Length;
        for (int i = options.SkipSteps; i < n; i++)
        {
            double sigma = grid.Sigmas[i];
            var (down, up) = Split(sigma, grid.Sigmas[i + 1]);
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, InputScale = SigmaGrid.InputScale(sigma), Alpha = 1, Sigma = sigma, X = down / sigma, D = 1 - down / sigma, N = up, DrawsNoise = true,
            });
        }

        return new SamplerPlan
        {
            Name = "euler_ancestral", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Timesteps = grid.Times, Sigmas = grid.Sigmas, InitialSigma = grid.InitialSigma(config),
        };
    }

    /// <summary>Level to step down to and noise to add, so that their squares sum to the next level's.</summary>
    /// <remarks>
    /// In float, as published: down^2 = next^2 - up^2 cancels where a step is large, down to a few digits of what next^2/sigma would be, and the image
    /// of a seed follows what the codes in use compute.
    /// </remarks>
    internal static (double Down, double Up) Split(double sigma, double next)
    {
        float from = (float)sigma, to = (float)next, square = to * to;
        float up = MathF.Sqrt(square * (from * from - square) / (from * from));
        return (MathF.Sqrt(square - up * up), up);
    }
}
