using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Authors;

/// <summary>
/// DDIM (Song et al. 2021, eq. 12) and PLMS (Liu et al. 2022) as latent diffusion and Frido ship them: of T training steps every (T/S)-th is taken, from
/// step 1 on, so an S that does not divide T takes more than S steps; the last one lands on the first training step's alpha-bar. In double.
/// </summary>
public sealed record LatentSampling : IOwnSampling
{
    private const string DdimName = "ddim", PlmsName = "plms";

    // Slots 0 to 2 hold former estimates, Start the latent at the start of the first step.
    private const int Estimates = 3, Start = 3;

    /// <summary>The training's betas and what the network predicts.</summary>
    public required SchedulerConfig Scheduler { get; init; }

    /// <summary>The configuration's own, else 50.</summary>
    public int Steps { get; init; } = 50;

    /// <summary>The configuration's own first.</summary>
    public IReadOnlyList<string> Names { get; init; } = [DdimName, PlmsName];

    public double Eta { get; init; }

    /// <summary>Where none is asked for.</summary>
    public double Guidance { get; init; } = 1;

    /// <exception cref="ModelFileException">A field of the wrong type or out of range.</exception>
    internal static LatentSampling Read(LatentConfig config, ConditionKind kind)
    {
        var p = config.Params;
        string named = config.File.GetWord("sampler", "DDIMSampler", "DDIMSampler", "PLMSSampler");
        int steps = p.GetInt("timesteps", 1000, 2, 1 << 20);
        return new LatentSampling
        {
            Scheduler = new SchedulerConfig
            {
                Path = config.File.Path, ClassName = "DDIMScheduler", TrainSteps = steps, BetaStart = p.GetDouble("linear_start", 1e-4, 1e-12, 1), BetaEnd = p.GetDouble("linear_end", 2e-2, 1e-12, 1),
                // What the authors call linear is linear in the square roots.
                BetaSchedule = p.GetWord("beta_schedule", "linear", "linear", "sqrt_linear") == "linear" ? "scaled_linear" : "linear",
                Prediction = p.GetWord("parameterization", "eps", "eps", "x0", "v") switch { "x0" => Prediction.Sample, "v" => Prediction.V, _ => Prediction.Epsilon },
                ClipSample = false, Spacing = "leading", StepsOffset = 1, SetAlphaToOne = false,
            },
            Names = named == "PLMSSampler" ? [PlmsName, DdimName] : [DdimName, PlmsName],
            Steps = config.File.GetInt("steps", 50, 1, steps),
            Eta = config.File.GetDouble("eta", 0, 0, 1),
            Guidance = config.File.GetDouble("guidance_scale", kind == ConditionKind.Text ? config.IsPyramid ? 1.5 : 5 : kind == ConditionKind.Class ? 3 : 1, -1000, 1000),
        };
    }

    public int StepsOf(string? sampler) => Steps;

    public SamplerPlan? Plan(SamplerOptions options, string? sampler, string? schedule)
    {
        string? name = SamplerName.Of(Names, sampler);
        if (name is null) return null;
        if (schedule is not (null or "default")) throw new UsageException($"schedule '{schedule}': {name} takes training steps at even distance; leave --schedule out");
        if (options.Sigmas is not null) throw new UsageException($"sigmas: {name} works on training steps; use --timesteps");
        SamplerName.RefuseOrder(name, options);
        SamplerName.RefuseShift(name, options);
        options.Check(Scheduler);
        double[] bar = NoiseSchedule.Build(Scheduler, finiteSigmas: false).AlphaBar;
        double[] times = options.Timesteps ?? Times(options.Steps, bar.Length);
        int count = times.Length - options.SkipSteps;
        if (count < 1) throw new UsageException($"no step is left of {times.Length}");
        times = times[options.SkipSteps..];
        double eta = options.Eta ?? Eta;
        if (name == PlmsName && eta != 0) throw new UsageException("eta: plms is deterministic; leave --eta out, or use ddim");
        if (name == PlmsName && Scheduler.Prediction != Prediction.Epsilon) throw new UsageException("sampler plms: the network must predict noise; use ddim");
        return new SamplerPlan
        {
            Name = name, Prediction = Scheduler.Prediction, Steps = times.Length, Timesteps = times, Slots = name == PlmsName ? Start + 1 : 0,
            Evaluations = name == PlmsName ? Plms(bar, times) : [.. times.Select((t, i) => Ddim(bar, t, Next(bar, times, i), eta) with { Step = i })],
        };
    }

    /// <exception cref="UsageException">The last step would be one that was not trained.</exception>
    private static double[] Times(int steps, int trained)
    {
        double[] times = At(steps);
        if (times[0] < trained) return times;
        int near = Enumerable.Range(1, trained).SelectMany(d => new[] { steps - d, steps + d }).First(s => s >= 1 && s <= trained && At(s)[0] < trained);
        throw new UsageException($"steps: {steps} of {trained} would begin at step {times[0]}, after the last trained one; use {near}");

        double[] At(int s)
        {
            int stride = trained / s, count = (trained + stride - 1) / stride;
            return [.. Enumerable.Range(0, count).Select(i => (double)(i * stride) + 1).Reverse()];
        }
    }

    private static double Next(double[] bar, double[] times, int i) => i + 1 < times.Length ? bar[(int)times[i + 1]] : bar[0];

    private static Evaluation At(double[] bar, double time) => new() { Time = time, Alpha = Math.Sqrt(bar[(int)time]), Sigma = Math.Sqrt(1 - bar[(int)time]) };

    private static Evaluation Ddim(double[] bar, double time, double next, double eta)
    {
        double now = bar[(int)time], deviation = eta * Math.Sqrt(Math.Max(0, (1 - next) / (1 - now) * (1 - now / next)));
        return At(bar, time) with { D = Math.Sqrt(next), E = Math.Sqrt(Math.Max(0, 1 - next - deviation * deviation)), N = deviation, DrawsNoise = eta > 0 };
    }

    // The first step is an improved Euler step: to its end, one evaluation there, and again with the mean of both.
    private static List<Evaluation> Plms(double[] bar, double[] times)
    {
        var evaluations = new List<Evaluation>();
        for (int i = 0; i < times.Length; i++)
        {
            double now = bar[(int)times[i]], next = Next(bar, times, i), latent = Math.Sqrt(next / now), estimate = Math.Sqrt(1 - next) - latent * Math.Sqrt(1 - now);
            var at = At(bar, times[i]) with { Step = i };
            if (i == 0)
            {
                evaluations.Add(at with { X = latent, E = estimate, Keep = Kept.Epsilon, KeepSlot = 0, SampleSlot = Start });
                evaluations.Add(At(bar, times[Math.Min(1, times.Length - 1)]) with { E = estimate / 2, History = [new(Start, latent), new(0, estimate / 2)] });
                continue;
            }

            double[] weights = Pndm.AdamsBashforth(Math.Min(i, Estimates));
            evaluations.Add(at with
            {
                X = latent,
                E = estimate * weights[0],
                Keep = Kept.Epsilon,
                KeepSlot = i % Estimates,
                History = [.. Enumerable.Range(1, weights.Length - 1).Select(j => new HistoryTerm((i - j) % Estimates, estimate * weights[j]))],
            });
        }

        return evaluations;
    }
}
