using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Sde;

/// <summary>An interval of noise levels that is gone through several times.</summary>
/// <param name="Low">The level at which noise is added again (the nearest of the schedule).</param>
/// <param name="High">The level that it leads back to (the nearest of the schedule).</param>
/// <param name="Steps">Levels of each way down again.</param>
/// <param name="Times">How often.</param>
public readonly record struct RestartInterval(double Low, double High, int Steps, int Times);

/// <summary>
/// Restart (Xu et al. 2023, "Restart sampling for improving generative processes", algorithm 1): Heun's steps, and at chosen levels a jump back by adding
/// noise, then down the same interval again. The noise contracts what errors have gathered; the ODE keeps each way down short.
/// </summary>
public static class Restart
{
    public static SamplerPlan Plan(NoiseLevels levels, KOptions options)
    {
        double[] s = levels.Sigmas;
        IReadOnlyList<RestartInterval> intervals = options.Restarts ?? [];
        if (options.Restarts is null && levels.Steps >= 20 && s[^1] == 0)
        {
            // As A1111 chooses: the run keeps about as many steps in all.
            int length = levels.Steps >= 36 ? levels.Steps / 4 : 9, times = levels.Steps >= 36 ? 2 : 1;
            s = [.. SigmaSchedule.Karras(s[^2], s[0], levels.Steps - length * times), 0];
            intervals = [new RestartInterval(0.1, 2, length + 1, times)];
        }

        foreach (var r in intervals)
        {
            if (!(r.Low > 0 && r.Low < r.High)) throw new UsageException(FormattableString.Invariant($"restart: expected an interval with 0 < low < high, found {r.Low} to {r.High}"));
            if (r.Steps < 2 || r.Times < 1) throw new UsageException($"restart: expected 2 or more levels and 1 or more times, found {r.Steps} and {r.Times}");
        }

        var tape = new PlanTape(levels with { Sigmas = s });
        double last = s[0];
        for (int i = 0; i + 1 < s.Length; i++)
        {
            Step(i, s[i], s[i + 1]);
            foreach (var r in intervals)
            {
                int low = Nearest(r.Low), high = Nearest(r.High);
                if (low != i + 1 || high >= low) continue;
                double[] again = SigmaSchedule.Karras(s[low], s[high], r.Steps);
                for (int k = 0; k < r.Times; k++)
                {
                    for (int j = 0; j + 1 < again.Length; j++) Step(i, again[j], again[j + 1]);
                }
            }
        }

        return tape.Plan("restart", slots: 1);

        void Step(int i, double from, double to)
        {
            if (from > last) tape.Noise(i, options.NoiseScale * Math.Sqrt(from * from - last * last));
            last = to;
            var euler = tape.Levels.At(from, i) with { X = to / from, D = 1 - to / from };
            if (to == 0)
            {
                tape.Add(euler);
                return;
            }

            tape.Add(euler with { Keep = Kept.Sample });
            tape.Add(tape.Levels.At(to, i) with { X = 0.5, E = (to - from) / 2, History = [new(0, 0.5)] });
        }

        int Nearest(double level)
        {
            int best = 0;
            for (int k = 1; k < s.Length; k++)
            {
                if (Math.Abs(s[k] - level) < Math.Abs(s[best] - level)) best = k;
            }

            return best;
        }
    }
}
