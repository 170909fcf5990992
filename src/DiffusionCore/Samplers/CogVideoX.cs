using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;
using static DiffusionCore.Samplers.SolverMath;

namespace DiffusionCore.Samplers;

/// <summary>The samplers of CogVideoX, Yang et al. 2024: DDIM and SDE-DPM-Solver++(2M) on its own noise schedule, which ends without signal.</summary>
public static class CogVideoX
{
    internal const string DdimClass = "CogVideoXDDIMScheduler";

    internal const string DpmClass = "CogVideoXDPMScheduler";

    public static SamplerPlan Ddim(SchedulerConfig config, SamplerOptions options)
    {
        var grid = Grid.Build(config.For(DdimClass), options);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < grid.Times.Length; i++)
        {
            var (bar, next) = (grid.Bar[i], grid.Next[i]);
            double x = Math.Sqrt((1 - next) / (1 - bar));
            evaluations.Add(grid.At(i) with { X = x, D = Math.Sqrt(next) - Math.Sqrt(bar) * x });
        }

        return grid.Plan("cogvideox-ddim", config, evaluations);
    }

    public static SamplerPlan Dpm(SchedulerConfig config, SamplerOptions options)
    {
        var grid = Grid.Build(config.For(DpmClass), options);
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < grid.Times.Length; i++)
        {
            var (bar, next) = (grid.Bar[i], grid.Next[i]);
            double h = Lambda(next) - Lambda(bar);
            double d = -ExpM1(-2 * h) * Math.Sqrt(next), former = 0;
            bool second = i > options.SkipSteps && next < 1;
            if (second)
            {
                double share = h / (2 * (Lambda(bar) - Lambda(grid.Bar[i - 1])));
                (d, former) = (d * (1 + share), -d * share);
            }

            evaluations.Add(grid.At(i) with
            {
                X = Math.Sqrt((1 - next) / (1 - bar)) * (ExpM1(-h) + 1),
                D = d,
                N = Math.Sqrt((1 - next) * -ExpM1(-2 * h)),
                DrawsNoise = true,
                UnusedDraws = second ? 1 : 0,
                History = former == 0 ? [] : [new(0, former)],
                Keep = Kept.Denoised,
            });
        }

        return grid.Plan("cogvideox-dpm", config, evaluations) with { Slots = 1 };
    }

    private static double Lambda(double bar) => bar <= 0 ? double.NegativeInfinity : bar >= 1 ? double.PositiveInfinity : 0.5 * DoubleMath.Log(bar / (1 - bar));

    /// <summary>Times, and alpha-bar at them and at the next ones.</summary>
    private sealed record Grid(double[] Times, double[] Bar, double[] Next)
    {
        public static Grid Build(SchedulerConfig config, SamplerOptions options)
        {
            if (options.Timesteps is not null) throw new UsageException("timesteps: the samplers of CogVideoX place their own");
            var schedule = NoiseSchedule.BuildShifted(config);
            double[] times = NoiseSchedule.SpacedTimesteps(config.Spacing!, config.TrainSteps, options.Steps, config.StepsOffset, options.Steps);
            int stride = config.TrainSteps / options.Steps;
            double final = config.SetAlphaToOne != false ? 1 : schedule.AlphaBar[0];
            int[] steps = Array.ConvertAll(times, t => Ddpm.Step(t, schedule));
            return new Grid(times, Array.ConvertAll(steps, t => schedule.AlphaBar[t]), Array.ConvertAll(steps, t => t >= stride ? schedule.AlphaBar[t - stride] : final));
        }

        public Evaluation At(int i) => new() { Time = Times[i], Step = i, Alpha = Math.Sqrt(Bar[i]), Sigma = Math.Sqrt(1 - Bar[i]) };

        public SamplerPlan Plan(string name, SchedulerConfig config, List<Evaluation> evaluations) =>
            new() { Name = name, Prediction = config.Prediction, Evaluations = evaluations, Steps = Times.Length, Timesteps = Times };
    }
}
