using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>
/// DPM-Solver++ (SDE) with two evaluations per step (Katherine Crowson's dpmpp_sde, midpoint at half the step in ln sigma), as the scheduler class has it:
/// the noise of both halves is one Brownian path's, from the start of the step.
/// </summary>
public static class DpmSolverSde
{
    internal const string Class = "DPMSolverSDEScheduler";

    private const int SavedSample = 0;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        var grid = SigmaGrid.Build(config with { FinalSigmaZero = true, LogLinearInterpolation = false, ContinuousTimesteps = false }, options);
        double[] logs = Array.ConvertAll(NoiseSchedule.Build(config, finiteSigmas: true).Sigmas(), DoubleMath.Log);
        int n = grid.Times.Length;
        double[] times = new double[2 * n - 1];
        var evaluations = new List<Evaluation>();
        for (int i = 0; i < n; i++)
        {
            double sigma = grid.Sigmas[i], next = grid.Sigmas[i + 1];
            times[2 * i] = grid.Times[i];
            if (next == 0)
            {
                if (i >= options.SkipSteps) evaluations.Add(At(grid.Times[i], i, sigma) with { D = 1 });
                break;
            }

            double middle = DoubleMath.Exp((DoubleMath.Log(sigma) + DoubleMath.Log(next)) / 2), time = SigmaGrid.TimeOf(middle, logs);
            if (2 * i + 1 < times.Length) times[2 * i + 1] = time;
            if (i < options.SkipSteps) continue;
            // Each half steps below its level and adds noise up to it; the second starts again from the latent of the first, with denoised at the middle.
            var (down, up) = EulerAncestral.Split(sigma, middle);
            evaluations.Add(At(grid.Times[i], i, sigma) with { X = down / sigma, D = 1 - down / sigma, N = up, NoiseInterval = (sigma, middle), Keep = Kept.Sample, KeepSlot = SavedSample });
            (down, up) = EulerAncestral.Split(sigma, next);
            evaluations.Add(At(time, i, middle) with { D = 1 - down / sigma, N = up, NoiseInterval = (sigma, next), History = [new(SavedSample, down / sigma)] });
        }

        return new SamplerPlan
        {
            Name = "dpm-sde", Prediction = config.Prediction, Evaluations = evaluations, Steps = n, Slots = 1, Timesteps = times, Sigmas = Repeat(grid.Sigmas), InitialSigma = grid.InitialSigma(config),
        };
    }

    private static Evaluation At(double time, int step, double sigma) => new() { Time = time, Step = step, InputScale = SigmaGrid.InputScale(sigma), Alpha = 1, Sigma = sigma };

    private static double[] Repeat(double[] v) => [v[0], .. v[1..^1].SelectMany(x => new[] { x, x }), v[^1]];
}
