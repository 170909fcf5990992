using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// Consistency models, Song et al. 2023, algorithm 1 (multistep sampling): denoised = c_skip*x + c_out*network, exact at the least level, then noise
/// up to the next level. Levels are those of Karras et al. at indices of the training's grid.
/// </summary>
public static class ConsistencyModel
{
    internal const string Class = "CMStochasticIterativeScheduler";

    private const double DefaultSigmaMin = 0.002, DefaultSigmaMax = 80;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        if (options.Sigmas is not null) throw new UsageException("sigmas: a consistency model takes timesteps, indices of its training's levels");
        double low = config.SigmaMin ?? DefaultSigmaMin, high = config.SigmaMax ?? DefaultSigmaMax, data = config.SigmaData;
        int stride = config.TrainSteps / options.Steps, n = options.Timesteps?.Length ?? options.Steps;
        // Index 0 is the highest level.
        double[] indices = options.Timesteps is { } given ? [.. given.Reverse()] : [.. Enumerable.Range(0, n).Select(i => (double)(i * stride))];
        double least = SolverMath.Pow(low, 1 / config.Rho), most = SolverMath.Pow(high, 1 / config.Rho);
        double[] levels = [.. indices.Select(i => SolverMath.Pow(most + i / Math.Max(1, config.TrainSteps - 1) * (least - most), config.Rho)), low];
        double[] times = [.. levels[..^1].Select(s => 250 * DoubleMath.Log(s))];
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            double sigma = levels[i], next = Math.Clamp(levels[i + 1], low, high), above = sigma - low;
            double skip = data * data / (above * above + data * data), scale = above * data / Math.Sqrt(sigma * sigma + data * data);
            evaluations.Add(new Evaluation
            {
                Time = times[i], Step = i, InputScale = 1 / Math.Sqrt(sigma * sigma + data * data), Alpha = 1, Sigma = sigma, Reading = Edm.Denoising(skip, scale, sigma), D = 1,
                N = n > 1 ? config.NoiseScale * Math.Sqrt(next * next - low * low) : 0, DrawsNoise = n > 1,
            });
        }

        return new SamplerPlan
        {
            Name = "cm", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Timesteps = times, Sigmas = levels, InitialSigma = high, Clip = config.ClipDenoised ? 1 : double.PositiveInfinity,
        };
    }
}
