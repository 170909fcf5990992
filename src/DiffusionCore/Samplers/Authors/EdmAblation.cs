using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Authors;

/// <summary>
/// The earlier samplers in the common frame of Karras et al. 2022, algorithm 1 and table 1: levels by the rule of one paper, x = s(t) (x0 + sigma(t) n) by
/// that of another, Heun steps in t. Without churn.
/// <code>dx/dt = (sigma'/sigma + s'/s) x - sigma' s/sigma * denoised</code>
/// </summary>
public static class EdmAblation
{
    private const double Last = 1e-3;
    private const int DiscreteSteps = 1000;

    private static readonly (string Name, string Levels, string Time, bool Scales)[] Table =
    [
        ("ablation-vp", "vp", "vp", true),
        ("ablation-ve", "ve", "ve", false),
        ("ablation-iddpm", "iddpm", "linear", false),
        ("ablation-edm", "edm", "linear", false),
    ];

    public static IReadOnlyList<string> Names { get; } = [.. Table.Select(r => r.Name)];

    /// <param name="round">The nearest level that the network knows; null where it knows all.</param>
    /// <exception cref="UsageException">An unknown name, or fewer than two steps.</exception>
    public static SamplerPlan Plan(string name, int steps, Func<double, double>? round = null, int skip = 0)
    {
        var row = Array.Find(Table, r => r.Name == name);
        if (row.Name is null) throw new UsageException($"sampler '{name}' is unknown{Suggestion.Hint(name, [.. Names])}");
        if (steps < 2) throw new UsageException($"steps: expected 2 or more, found {steps}");
        var (low, high) = row.Levels switch
        {
            "vp" => (VpSigma(19.9, 0.1, Last), VpSigma(19.9, 0.1, 1)),
            "ve" => (0.02, 100.0),
            "iddpm" => (0.002, 81.0),
            _ => (0.002, 80.0),
        };
        double lowLog = DoubleMath.Log(low * low + 1), highLog = DoubleMath.Log(high * high + 1), range = 2 * (lowLog / Last - highLog) / (Last - 1), least = highLog - 0.5 * range;
        double[] sigmas = LevelsOf(row.Levels, steps, low, high, range, least);
        var frame = new Frame(row.Time, row.Scales, range, least);
        double[] times = [.. sigmas.Select(s => frame.Time(round is null ? s : round(s))), 0];
        var evaluations = new List<Evaluation>();
        for (int i = skip; i < steps; i++)
        {
            double t = times[i], next = times[i + 1], h = next - t;
            var (a, b) = frame.Slope(t);
            var euler = frame.At(t) with { Step = i, X = 1 + h * a, D = -h * b };
            if (i == steps - 1)
            {
                evaluations.Add(euler);
                continue;
            }

            evaluations.Add(euler with { Keep = Kept.Sample });
            (a, b) = frame.Slope(next);
            // The first slope is (x' - x)/h.
            evaluations.Add(frame.At(next) with { Step = i, X = 0.5 + 0.5 * h * a, D = -0.5 * h * b, History = [new(0, 0.5)] });
        }

        return new SamplerPlan
        {
            Name = name, Prediction = Prediction.Sample, Evaluations = evaluations, Steps = steps, Slots = 1, Timesteps = [.. evaluations.Select(e => e.Time)], Sigmas = [.. sigmas, 0],
            InitialSigma = frame.Sigma(times[0]) * frame.Scale(times[0]),
        };
    }

    private static double[] LevelsOf(string rule, int steps, double low, double high, double range, double least)
    {
        double[] share = NoiseSchedule.Linspace(0, 1, steps);
        switch (rule)
        {
            case "vp": return Array.ConvertAll(share, s => VpSigma(range, least, 1 + s * (Last - 1)));
            case "ve": return Array.ConvertAll(share, s => high * SolverMath.Pow(low / high, s));
            case "iddpm":
                double[] u = [.. EdmSampling.DiscreteLevels(DiscreteSteps).Where(v => v >= low && v <= high)];
                return Array.ConvertAll(share, s => u[(int)Math.Round((u.Length - 1) * s)]);
            default: return SigmaSchedule.Karras(low, high, steps);
        }
    }

    private static double VpSigma(double range, double least, double t) => Math.Sqrt(SolverMath.ExpM1(0.5 * range * t * t + least * t));

    private sealed class Frame(string rule, bool scales, double range, double least)
    {
        public double Sigma(double t) => rule switch { "vp" => VpSigma(range, least, t), "ve" => Math.Sqrt(t), _ => t };

        public double Time(double sigma) => rule switch
        {
            "vp" => (Math.Sqrt(least * least + 2 * range * DoubleMath.Log(sigma * sigma + 1)) - least) / range,
            "ve" => sigma * sigma,
            _ => sigma,
        };

        public double Scale(double t) => scales ? 1 / Math.Sqrt(1 + Sigma(t) * Sigma(t)) : 1;

        // Factors of x and of -denoised in dx/dt.
        public (double X, double Denoised) Slope(double t)
        {
            double sigma = Sigma(t), s = Scale(t), derivative = rule switch
            {
                "vp" => 0.5 * (least + range * t) * (sigma + 1 / sigma),
                "ve" => 0.5 / sigma,
                _ => 1,
            };
            // s'/s = -sigma sigma' s^2.
            return (derivative / sigma - (scales ? sigma * derivative * s * s : 0), derivative * s / sigma);
        }

        public Evaluation At(double t)
        {
            double sigma = Sigma(t), s = Scale(t);
            return new Evaluation { Time = sigma, InputScale = 1 / s, Alpha = s, Sigma = s * sigma };
        }
    }
}
