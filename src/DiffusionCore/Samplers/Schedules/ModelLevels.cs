using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers.Schedules;

/// <summary>The noise levels of the training steps, and the way between times and levels.</summary>
public sealed class ModelLevels
{
    private readonly double[] logs;

    /// <param name="sigmas">One per training step, rising.</param>
    public ModelLevels(double[] sigmas)
    {
        Sigmas = sigmas;
        logs = Array.ConvertAll(sigmas, DoubleMath.Log);
    }

    public static ModelLevels Of(SchedulerConfig config) => new(NoiseSchedule.Build(config, finiteSigmas: true).Sigmas());

    public double[] Sigmas { get; }

    public double Minimum => Sigmas[0];

    public double Maximum => Sigmas[^1];

    public int Steps => Sigmas.Length;

    /// <summary>Noise level at a time with fraction, linear in ln sigma.</summary>
    public double Sigma(double time)
    {
        int i = (int)Math.Clamp(Math.Floor(time), 0, Steps - 1), next = Math.Min(i + 1, Steps - 1);
        double weight = Math.Clamp(time - i, 0, 1);
        return weight == 0 ? Sigmas[i] : DoubleMath.Exp((1 - weight) * logs[i] + weight * logs[next]);
    }

    /// <summary>The time with fraction whose noise level this is.</summary>
    public double Time(double sigma) => SigmaGrid.TimeOf(sigma, logs);

    /// <summary>The training step nearest in ln sigma.</summary>
    public double NearestStep(double sigma)
    {
        double log = DoubleMath.Log(sigma), best = double.PositiveInfinity;
        int at = 0;
        for (int i = 0; i < Steps; i++)
        {
            if (Math.Abs(log - logs[i]) >= best) continue;
            (best, at) = (Math.Abs(log - logs[i]), i);
        }

        return at;
    }
}
