using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// PNDM, Liu et al. 2022: DDIM's transfer (eq. 11) of a mean of estimates. The mean is that of the Runge-Kutta method in the first three steps
/// (F-PNDM, algorithm 2; four evaluations each), of Adams-Bashforth after them; with skip_prk_steps it starts with a step of the improved Euler method
/// instead (PLMS, as latent diffusion ships it). The estimates are the network's own outputs, whatever it predicts.
/// </summary>
public static class Pndm
{
    internal const string Class = "PNDMScheduler";

    // Slots 0 to 2 hold former estimates, Start the latent at the start of a step, Second the second estimate of a Runge-Kutta step.
    private const int RungeKuttaSteps = 3, Start = 3, Second = 4;

    public static SamplerPlan Plan(SchedulerConfig config, SamplerOptions options)
    {
        config = config.For(Class);
        if (config.Prediction is not (Prediction.Epsilon or Prediction.V)) throw config.Problem("prediction_type", "PNDM takes epsilon or v_prediction");
        if (options.Timesteps is not null) throw new UsageException("timesteps: PNDM places its own");
        var run = new Run(config, NoiseSchedule.Build(config, finiteSigmas: false), options.Steps);
        double[] times = config.SkipRungeKutta ? run.Linear() : [.. run.RungeKutta(), .. run.Linear()];
        int rungeKutta = config.SkipRungeKutta ? 0 : run.RungeKutta().Length;
        var evaluations = new List<Evaluation>();
        for (int k = 0; k + options.SkipSteps < times.Length; k++)
        {
            double time = times[k + options.SkipSteps];
            evaluations.Add((k < rungeKutta ? run.RungeKutta(k, time, times[k / 4 * 4]) : run.Linear(k, time, rungeKutta)) with { Time = time, Step = Math.Min(k + options.SkipSteps, options.Steps - 1) });
        }

        return new SamplerPlan
        {
            Name = config.SkipRungeKutta ? "plms" : "pndm", Prediction = config.Prediction, Evaluations = evaluations, Steps = options.Steps, Slots = config.SkipRungeKutta ? Second : Second + 1, Timesteps = times,
        };
    }

    private sealed class Run(SchedulerConfig config, NoiseSchedule schedule, int steps)
    {
        private readonly int stride = config.TrainSteps / steps;
        private readonly double[] rising = [.. NoiseSchedule.SpacedTimesteps(config.Spacing!, config.TrainSteps, steps, config.StepsOffset, steps).Reverse()];
        private readonly double final = config.SetAlphaToOne == true ? 1 : schedule.AlphaBar[0];

        // What the transfers of one Runge-Kutta step start with: (latent, estimate) coefficients of its four evaluations.
        private readonly (double Latent, double Estimate)[] transfers = new (double, double)[4];

        /// <summary>Times of the Runge-Kutta evaluations: t, t - half, t - half, t - stride, of each of the steps.</summary>
        public double[] RungeKutta()
        {
            if (rising.Length <= RungeKuttaSteps) throw new UsageException($"steps: PNDM needs at least {RungeKuttaSteps + 1}, of which {RungeKuttaSteps} are Runge-Kutta steps, found {rising.Length}; use plms");
            int half = stride / 2;
            double[] pairs = [.. rising[^(RungeKuttaSteps + 1)..].SelectMany(t => new[] { t, t + half })], repeated = [.. pairs[..^1].SelectMany(t => new[] { t, t })];
            return [.. repeated[1..^1].Reverse()];
        }

        public double[] Linear()
        {
            if (!config.SkipRungeKutta) return [.. rising[..^RungeKuttaSteps].Reverse()];
            if (rising.Length < 2) return rising;
            return [rising[^1], rising[^2], .. rising[..^1].Reverse()];
        }

        /// <summary>Evaluation k of the Runge-Kutta steps at a time; all four start from the level of the first.</summary>
        public Evaluation RungeKutta(int k, double time, double start)
        {
            int stage = k % 4, step = k / 4 % RungeKuttaSteps;
            var (latent, estimate) = transfers[stage] = Transfer(start, time - (k % 2 == 0 ? stride / 2 : 0));
            var e = At(time) with { Reading = Reading(time) };
            switch (stage)
            {
                case 0:
                    return e with { X = latent, E = estimate, Keep = Kept.Epsilon, KeepSlot = step, SampleSlot = Start };
                case 1:
                    return e with { E = estimate, History = [new(Start, latent)], Keep = Kept.Epsilon, KeepSlot = Second };
                case 2:
                    return e with { E = estimate, History = [new(Start, latent)] };
                default:
                    // x = L*start + G*m3 came from the third estimate, so m3 = (x - L*start)/G need not be kept.
                    var (thirdLatent, thirdEstimate) = transfers[2];
                    double third = thirdEstimate == estimate ? 1.0 / 3 : estimate / thirdEstimate / 3;
                    return e with { X = third, E = estimate / 6, History = [new(Start, latent - third * thirdLatent), new(step, estimate / 6), new(Second, estimate / 3)] };
            }
        }

        /// <summary>Evaluation k of the whole run, in the linear multistep part.</summary>
        public Evaluation Linear(int k, double time, int rungeKutta)
        {
            // Estimates before this one: one per Runge-Kutta step, else one per evaluation but the second, which repeats the first step.
            bool repeats = k == 1;
            int known = rungeKutta > 0 ? Math.Min(k, rungeKutta) / 4 + Math.Max(0, k - rungeKutta) : k == 0 ? 0 : k == 1 ? 1 : k - 1;
            var (latent, estimate) = repeats ? Transfer(time + stride, time) : Transfer(time, time - stride);
            double[] weights = repeats ? [0.5, 0.5] : AdamsBashforth(known);
            var terms = new List<HistoryTerm>();
            if (repeats) terms.Add(new HistoryTerm(Start, latent));
            for (int j = 1; j < weights.Length; j++) terms.Add(new HistoryTerm((known - j) % RungeKuttaSteps, estimate * weights[j]));
            return At(time) with
            {
                Reading = Reading(time),
                X = repeats ? 0 : latent,
                E = estimate * weights[0],
                History = terms,
                Keep = repeats ? Kept.None : Kept.Epsilon,
                KeepSlot = known % RungeKuttaSteps,
                SampleSlot = k == 0 ? Start : -1,
            };
        }

        private Evaluation At(double time)
        {
            double bar = Bar(time);
            return new Evaluation { Time = time, Alpha = Math.Sqrt(bar), Sigma = Math.Sqrt(1 - bar) };
        }

        // E and the slots hold the raw output m; denoised is what it says.
        private StepNumbers? Reading(double time)
        {
            if (config.Prediction == Prediction.Epsilon) return null;
            double bar = Bar(time);
            return StepNumbers.Of(Prediction.V, Math.Sqrt(bar), Math.Sqrt(1 - bar)) with { A1 = 0, B1 = 1 };
        }

        // x' = Latent*x + Estimate*m between two training steps, m the network's output.
        private (double Latent, double Estimate) Transfer(double from, double to)
        {
            double bar = Bar(from), next = to >= 0 ? Bar(to) : final;
            double latent = Math.Sqrt(next / bar), estimate = (bar - next) / (bar * Math.Sqrt(1 - next) + Math.Sqrt(bar * (1 - bar) * next));
            if (next == bar) estimate = 0;
            return config.Prediction == Prediction.V ? (latent + estimate * Math.Sqrt(1 - bar), estimate * Math.Sqrt(bar)) : (latent, estimate);
        }

        private double Bar(double time) => schedule.AlphaBar[Ddpm.Step(time, schedule)];
    }

    /// <summary>Weights of the latest estimate and of up to three former ones.</summary>
    internal static double[] AdamsBashforth(int known) => known switch
    {
        0 => [1],
        1 => [3 / 2.0, -1 / 2.0],
        2 => [23 / 12.0, -16 / 12.0, 5 / 12.0],
        _ => [55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0],
    };
}
