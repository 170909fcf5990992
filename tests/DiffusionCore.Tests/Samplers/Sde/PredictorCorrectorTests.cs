using DiffusionCore.Noise;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Sde;

namespace DiffusionCore.Tests.Samplers.Sde;

/// <summary>The reverse SDE of a normal distribution: predictors by their exact moments, correctors by samples.</summary>
public sealed class PredictorCorrectorTests
{
    private const double Mean = 0.4, Variance = 0.3;

    public static TheoryData<string, Predictor> Predictors
    {
        get
        {
            var data = new TheoryData<string, Predictor>();
            foreach (string kind in (string[])["vp", "sub-vp", "ve"])
            {
                foreach (var p in (Predictor[])[Predictor.ReverseDiffusion, Predictor.EulerMaruyama, Predictor.Ancestral])
                    if (!(kind == "sub-vp" && p == Predictor.Ancestral)) data.Add(kind, p);
            }

            return data;
        }
    }

    /// <summary>Ancestral sampling of the sub-VP process is not defined in the paper; the others meet the data as the steps become many.</summary>
    [Theory]
    [MemberData(nameof(Predictors))]
    public void Predictors_meet_the_moments_with_first_order(string kind, Predictor predictor)
    {
        double few = Error(500), many = Error(1000);
        Assert.True(many < 0.02, $"{kind}, {predictor}: {many:g3} with 1000 steps");
        Assert.InRange(few / many, 1.6, 2.5);

        double Error(int steps)
        {
            var process = Of(kind);
            double last = kind == "ve" ? 1e-5 : 1e-3;
            var plan = PredictorCorrector.Plan(process, steps, predictor, corrections: 0, last: last);
            double deviation = process.Deviation(1), mean = process.Mean(1) * Mean, variance = process.Mean(1) * process.Mean(1) * Variance + deviation * deviation;
            foreach (var e in plan.Evaluations)
            {
                // eps of x is linear: sigma (x - alpha m)/(alpha^2 v + sigma^2).
                double slope = e.Sigma / (e.Alpha * e.Alpha * Variance + e.Sigma * e.Sigma), factor = e.X + e.E * slope, shift = -e.E * slope * e.Alpha * Mean;
                (mean, variance) = (factor * mean + shift, factor * factor * variance + e.N * e.N);
            }

            // What the process itself still has of noise at the last time is taken away by the last, noiseless step.
            return Math.Abs(mean - Mean) + Math.Abs(variance - Variance);
        }
    }

    [Theory]
    [InlineData("vp")]
    [InlineData("sub-vp")]
    [InlineData("ve")]
    public void Correctors_pull_a_wrong_variance_to_the_right_one(string kind)
    {
        const int Elements = 4000;
        var process = Of(kind);
        // Langevin steps at nearly one time: the last times of a run that begins there.
        var plan = PredictorCorrector.Plan(process, 25, Predictor.None, ratio: 0.3, corrections: 40);
        var middle = plan.Evaluations.Where(e => e.Step == 12).ToArray();
        plan = plan with { Evaluations = middle };
        double alpha = middle[0].Alpha, sigma = middle[0].Sigma, spread = alpha * alpha * Variance + sigma * sigma;
        var generator = new TorchCpuGenerator(3);
        var x = new double[Elements];
        generator.Normal(x);
        for (int i = 0; i < Elements; i++) x[i] = alpha * Mean + 0.5 * Math.Sqrt(spread) * x[i];
        double[] end = HostSampler.Run(plan, x, (v, _) => Array.ConvertAll(v, u => sigma * (u - alpha * Mean) / spread), z => generator.Normal(z));
        double mean = end.Average(), variance = end.Average(v => (v - mean) * (v - mean));
        // The step is finite, so Langevin's variance is a little too large: 1/(1 - a/(2 spread)) with a about 2 r^2 spread.
        Assert.InRange(variance / spread, 0.93, 1.0 / (1 - 0.3 * 0.3) + 0.08);
    }

    [Fact]
    public void The_order_is_correct_then_predict_and_the_last_step_is_quiet()
    {
        var plan = PredictorCorrector.Plan(ScoreProcess.VarianceExploding(), 4, corrections: 2, networkTime: t => 7 * t);
        Assert.Equal(12, plan.Evaluations.Count);
        Assert.Equal([true, true, false], plan.Evaluations.Take(3).Select(e => e.LangevinRatio > 0));
        Assert.Equal((0, false), (plan.Evaluations[^1].N, plan.Evaluations[^1].DrawsNoise));
        Assert.Equal((7, 50), (plan.Evaluations[0].Time, Math.Round(plan.InitialSigma, 9)));
    }

    [Fact]
    public void Bad_input_is_refused()
    {
        Refused("use more than 20 steps", () => PredictorCorrector.Plan(ScoreProcess.VariancePreserving(), 20));
        Refused("steps: expected 2 or more", () => PredictorCorrector.Plan(ScoreProcess.VarianceExploding(), 1));
        Refused("signal-to-noise ratio", () => PredictorCorrector.Plan(ScoreProcess.VarianceExploding(), 5, ratio: 0));
        Refused("corrections: expected", () => PredictorCorrector.Plan(ScoreProcess.VarianceExploding(), 5, Predictor.None, corrections: 0));
        Refused("last time: expected", () => PredictorCorrector.Plan(ScoreProcess.VarianceExploding(), 5, last: 1));

        static void Refused(string problem, Func<SamplerPlan> plan) => Assert.Contains(problem, Assert.Throws<UsageException>(plan).Message, StringComparison.Ordinal);
    }

    private static ScoreProcess Of(string kind) => kind switch
    {
        "vp" => ScoreProcess.VariancePreserving(),
        "sub-vp" => ScoreProcess.SubVariancePreserving(),
        _ => ScoreProcess.VarianceExploding(),
    };
}
