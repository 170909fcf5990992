using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// Samplers of preconditioned networks (Karras et al. 2022, table 1): denoised = c_skip*x + c_out*network(c_in*x, ln(sigma)/4), with Euler steps
/// (algorithm 2 without its second half) or DPM-Solver++ multistep on x = x0 + sigma*eps.
/// </summary>
public static class Edm
{
    internal const string EulerClass = "EDMEulerScheduler";

    internal const string DpmClass = "EDMDPMSolverMultistepScheduler";

    private const double DefaultSigmaMin = 0.002, DefaultSigmaMax = 80;

    public static SamplerPlan Euler(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(EulerClass);
        var grid = Grid(config, options, inFloat: false);
        int n = grid.Times.Length;
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < n; i++)
        {
            double sigma = grid.Sigmas[i], raised = sigma * (1 + options.ChurnAt(sigma, n)), added = options.ChurnNoise * Math.Sqrt(raised * raised - sigma * sigma);
            // The raised noise enters the latent after the network saw it, and is read at the raised level.
            var reading = Reading(config, raised);
            double ratio = (grid.Sigmas[i + 1] - raised) / raised;
            evaluations.Add(new Evaluation
            {
                Time = grid.Times[i], Step = i, InputScale = InputScale(config, sigma), Alpha = 1, Sigma = raised, Reading = reading, X = 1 + ratio, D = -ratio, N = added * (1 + ratio - reading.A0 * ratio),
            });
        }

        return new SamplerPlan
        {
            Name = "edm-euler", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Timesteps = grid.Times, Sigmas = grid.Sigmas, InitialSigma = InitialSigma(config),
        };
    }

    public static SamplerPlan Dpm(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(DpmClass);
        if (!DpmAlgorithm.Of(config).Data) throw config.Problem("algorithm_type", $"{config.AlgorithmType} is not defined for preconditioned networks; use dpmsolver++ or sde-dpmsolver++");
        var grid = Grid(config, options, inFloat: true);
        var plan = DpmSolverMultistep.Plan("edm-dpm", config, options, grid, LevelScale.Exploding, config.FinalSigmaZero);
        return plan with
        {
            InitialSigma = InitialSigma(config),
            Evaluations = [.. plan.Evaluations.Select(e => e with { InputScale = InputScale(config, e.Sigma), Reading = Reading(config, e.Sigma) })],
        };
    }

    // One of the two published classes computes its levels in float, and its times ln(sigma)/4 pass through zero, where that shows.
    private static double[] KarrasInFloat(double minimum, double maximum, int n, double rho)
    {
        float high = (float)SolverMath.Pow(maximum, 1 / rho), step = n > 1 ? 1f / (n - 1) : 0;
        return [.. Enumerable.Range(0, n).Select(i => (double)(float)SolverMath.Pow(high + (i < n / 2 || n == 1 ? step * i : MathF.FusedMultiplyAdd(-step, n - 1 - i, 1)) * (float)(SolverMath.Pow(minimum, 1 / rho) - SolverMath.Pow(maximum, 1 / rho)), rho))];
    }

    private static SigmaGrid Grid(SchedulerConfig config, SamplerOptions options, bool inFloat)
    {
        if (config.Prediction is not (Prediction.Epsilon or Prediction.V)) throw config.Problem("prediction_type", "a preconditioned network takes epsilon or v_prediction, which tell the sign of c_out");
        if (options.Timesteps is not null) throw new UsageException("timesteps: a preconditioned network knows noise levels only; give sigmas");
        if (options.Sigmas is { } given) return new SigmaGrid(given, Array.ConvertAll(given[..^1], Time));
        double low = config.SigmaMin ?? DefaultSigmaMin, high = config.SigmaMax ?? DefaultSigmaMax;
        double[] levels = config.EdmSchedule == "exponential" ? SigmaSchedule.Exponential(low, high, options.Steps)
            : inFloat ? KarrasInFloat(low, high, options.Steps, config.Rho)
            : SigmaSchedule.Karras(low, high, options.Steps, config.Rho);
        // One level alone is the least one of the exponential schedule, which is built upwards.
        if (options.Steps == 1 && config.EdmSchedule == "exponential") levels = [low];
        return new SigmaGrid([.. levels, config.FinalSigmaZero ? 0 : inFloat ? low : levels[^1]], Array.ConvertAll(levels, Time));
    }

    /// <summary>c_noise.</summary>
    private static double Time(double sigma) => (float)(0.25 * DoubleMath.Log(sigma));

    /// <summary>c_in.</summary>
    private static double InputScale(SchedulerConfig config, double sigma) => 1 / Math.Sqrt(sigma * sigma + config.SigmaData * config.SigmaData);

    private static double InitialSigma(SchedulerConfig config)
    {
        double high = config.SigmaMax ?? DefaultSigmaMax;
        return Math.Sqrt(high * high + 1);
    }

    /// <summary>c_skip and c_out; v_prediction has the sign of v = alpha*eps - sigma*x0.</summary>
    internal static StepNumbers Reading(SchedulerConfig config, double sigma)
    {
        double data = config.SigmaData, total = sigma * sigma + data * data, skip = data * data / total, scale = (config.Prediction == Prediction.V ? -1 : 1) * sigma * data / Math.Sqrt(total);
        return Denoising(skip, scale, sigma);
    }

    /// <summary>A network read as denoised = skip*x + scale*m on x = x0 + sigma*eps.</summary>
    internal static StepNumbers Denoising(double skip, double scale, double sigma) => new(skip, scale, (1 - skip) / sigma, -scale / sigma, 1 / sigma, -1 / sigma);
}
