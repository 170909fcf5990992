using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>What holds for every sampler: a network that always answers x0 leads to x0, and errors fall with the order that the paper promises.</summary>
public sealed class SamplerPropertyTests
{
    private const double X0 = 0.37;

    public static TheoryData<string, Prediction> SamplersAndPredictions
    {
        get
        {
            var data = new TheoryData<string, Prediction>();
            foreach (string name in Sampler.Names)
            {
                foreach (var prediction in new[] { Prediction.Epsilon, Prediction.Sample, Prediction.V }) data.Add(name, prediction);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(SamplersAndPredictions))]
    public void A_network_that_always_answers_x0_leads_to_x0(string name, Prediction prediction)
    {
        foreach (int steps in (int[])[1, 2, 3, 7, 20, 50])
        {
            var plan = Sampler.Plan(new SchedulerConfig { Prediction = prediction, BetaSchedule = "scaled_linear", BetaStart = 0.00085, BetaEnd = 0.012 }, new SamplerOptions { Steps = steps }, name);
            int call = 0;
            var random = new Random(5);
            double[] Network(double[] input, double time)
            {
                var e = plan.Evaluations[call++];
                Assert.Equal(e.Time, time);
                double x = input[0] / e.InputScale, eps = (x - e.Alpha * X0) / e.Sigma;
                return [prediction switch { Prediction.Epsilon => eps, Prediction.Sample => X0, _ => (e.Alpha * eps - e.Sigma * X0) / Math.Sqrt(e.Alpha * e.Alpha + e.Sigma * e.Sigma) }];
            }

            double[] result = HostSampler.Run(plan, [1.9 * plan.InitialSigma], Network, z => z[0] = random.NextDouble() - 0.5);
            Assert.Equal(plan.Evaluations.Count, call);
            Assert.Equal(X0, result[0], 1e-6);
        }
    }

    [Theory]
    [InlineData("ddim", 1)]
    [InlineData("euler", 1)]
    [InlineData("heun", 2)]
    [InlineData("dpmpp_2m", 2)]
    public void The_error_falls_with_the_order_of_the_method(string name, int order)
    {
        double[] errors = [.. new[] { 40, 80, 160 }.Select(n => Error(name, n))];
        for (int i = 0; i + 1 < errors.Length; i++)
        {
            double measured = Math.Log2(errors[i] / errors[i + 1]);
            Assert.True(Math.Abs(measured - order) <= 0.25, $"{name}: errors {string.Join(", ", errors.Select(e => e.ToString("e2")))} fall with order {measured:f2}, expected {order}");
        }
    }

    [Fact]
    public void Third_order_beats_second_order()
    {
        var config = new SchedulerConfig { FinalSigmaZero = false, LowerOrderFinal = false };
        double two = Error("DPMSolverMultistepScheduler", 160, config with { SolverOrder = 2 }), three = Error("DPMSolverMultistepScheduler", 160, config with { SolverOrder = 3 });
        Assert.True(three < two / 4, $"second order {two:e2}, third order {three:e2}");
    }

    // Distance from the exact path of the probability flow, with the exact denoiser of a mixture of two Gaussians.
    private static double Error(string name, int steps, SchedulerConfig? config = null)
    {
        config ??= new SchedulerConfig { FinalSigmaZero = false, LowerOrderFinal = false, SetAlphaToOne = false };
        config = config with { Prediction = Prediction.Sample, ClipSample = false };
        double high, low;
        SamplerOptions options;
        if (name == "ddim")
        {
            // Whole training steps: 800 to 0, the last step from 0 to 0.
            options = new SamplerOptions { Timesteps = [.. Enumerable.Range(0, steps + 1).Select(i => 800.0 - 800 / steps * i)] };
            var schedule = NoiseSchedule.Build(config, finiteSigmas: true);
            (high, low) = (schedule.Sigma(800), schedule.Sigma(0));
        }
        else
        {
            (high, low) = (10, 0.1);
            options = new SamplerOptions { Sigmas = SigmaSchedule.Exponential(low, high, steps + 1) };
        }

        var plan = Sampler.Plan(config, options, name);
        double worst = 0;
        foreach (double z in (double[])[-1.3, -0.2, 0.4, 1.7])
        {
            var first = plan.Evaluations[0];
            double start = high * z, exact = Exact(start, high, low);
            int call = 0;
            double[] result = HostSampler.Run(plan, [first.Alpha * start], (input, _) =>
            {
                var e = plan.Evaluations[call++];
                return [Denoise(input[0] / e.InputScale / e.Alpha, e.Sigma / e.Alpha)];
            });
            double alpha = first.Alpha == 1 ? 1 : 1 / Math.Sqrt(1 + low * low);
            worst = Math.Max(worst, Math.Abs(result[0] / alpha - exact));
        }

        return worst;
    }

    // x' = (x - D)/sigma by the classical Runge-Kutta method in ln sigma: dx/ds = x - D.
    private static double Exact(double x, double high, double low)
    {
        const int Steps = 4000;
        double h = (Math.Log(low) - Math.Log(high)) / Steps, s = Math.Log(high);
        double Slope(double at, double v) => v - Denoise(v, Math.Exp(at));
        for (int i = 0; i < Steps; i++, s += h)
        {
            double a = Slope(s, x), b = Slope(s + h / 2, x + h / 2 * a), c = Slope(s + h / 2, x + h / 2 * b), d = Slope(s + h, x + h * c);
            x += h / 6 * (a + 2 * b + 2 * c + d);
        }

        return x;
    }

    // Posterior mean of x0 for x = x0 + sigma*eps.
    private static double Denoise(double x, double sigma)
    {
        (double Weight, double Mean, double Variance)[] mixture = [(0.3, -1, 0.25), (0.7, 1.2, 0.5)];
        double sum = 0, total = 0;
        foreach (var (weight, mean, variance) in mixture)
        {
            double spread = variance + sigma * sigma, density = weight * Math.Exp(-(x - mean) * (x - mean) / (2 * spread)) / Math.Sqrt(spread);
            sum += density * (variance * x + sigma * sigma * mean) / spread;
            total += density;
        }

        return sum / total;
    }
}
