using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>Euler's method on dx/dsigma = (x - denoised)/sigma, with the churn of Karras et al. 2022, algorithm 2.</summary>
public static class Euler
{
    internal const string Class = "EulerDiscreteScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var grid = SigmaGrid.Build(config, options);
        var evaluations = new List<Evaluation>();
        int n = grid.Times.Length;
        for (int i = options.SkipSteps; i < n; i++)
        {
            double sigma = grid.Sigmas[i], next = grid.Sigmas[i + 1];
            double raised = sigma * (1 + options.ChurnAt(sigma, n)), added = options.ChurnNoise * Math.Sqrt(raised * raised - sigma * sigma);
            // The raised noise enters the latent after the network saw it; only an eps prediction is read at the raised level.
            double level = config.Prediction == Prediction.Epsilon ? raised : sigma, ratio = (next - raised) / raised;
            double share = StepNumbers.Of(config.Prediction, 1, level).A0;
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, InputScale = SigmaGrid.InputScale(sigma), Alpha = 1, Sigma = level, X = 1 + ratio, D = -ratio, N = added * (1 + ratio - share * ratio),
            });
        }

        return new SamplerPlan
        {
            Name = "euler", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Timesteps = grid.Times, Sigmas = grid.Sigmas, InitialSigma = grid.InitialSigma(config),
        };
    }
}
