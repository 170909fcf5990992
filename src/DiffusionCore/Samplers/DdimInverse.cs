using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>DDIM from data to noise (Song et al. 2021, section 5.4): the same update with the two levels exchanged, the network evaluated at the noisier one's time.</summary>
public static class DdimInverse
{
    internal const string Class = "DDIMInverseScheduler";

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        if (config.SetAlphaToOne != false && config.Prediction == Prediction.Sample)
            throw config.Problem("set_alpha_to_one", "must be false for a network that predicts x0: the first step starts without noise, where x0 says nothing about eps");
        if (options.Timesteps is not null) throw new UsageException("timesteps: the inverse of DDIM places its own");
        var schedule = NoiseSchedule.Build(config, finiteSigmas: false);
        double[] times = [.. NoiseSchedule.SpacedTimesteps(config.Spacing!, config.TrainSteps, options.Steps, config.StepsOffset, options.Steps).Reverse()];
        int stride = config.TrainSteps / options.Steps;
        double initial = config.SetAlphaToOne != false ? 1 : schedule.AlphaBar[0];
        var evaluations = new List<Evaluation>();
        for (int i = options.SkipSteps; i < times.Length; i++)
        {
            int t = Ddpm.Step(times[i], schedule), before = Math.Min(t - stride, schedule.Steps - 1);
            double bar = before >= 0 ? schedule.AlphaBar[before] : initial, next = schedule.AlphaBar[t];
            evaluations.Add(new Evaluation { Time = t, Step = i, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar), D = Math.Sqrt(next), E = Math.Sqrt(1 - next) });
        }

        return new SamplerPlan
        {
            Name = "ddim-inverse", Prediction = config.Prediction, Evaluations = evaluations, Steps = times.Length, Timesteps = times, Clip = config.ClipSample == true ? config.ClipRange : double.PositiveInfinity,
        };
    }
}
