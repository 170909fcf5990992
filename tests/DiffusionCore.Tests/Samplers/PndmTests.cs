using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>PNDM, PLMS and the improved PNDM: the transfer between two levels, and the means of estimates in it.</summary>
public sealed class PndmTests
{
    private static readonly SchedulerConfig Three = new() { TrainSteps = 3, TrainedBetas = [0.1, 0.2, 0.3] };

    // sqrt(0.28) - sqrt(0.72/0.504)*sqrt(0.496)
    private const double Latent = 1.195229, Estimate = -0.312617;

    [Fact]
    public void Plms_repeats_the_first_step_with_the_mean_of_two_estimates()
    {
        var plan = Sampler.Plan(Three, new SamplerOptions { Steps = 3 }, "plms");
        Assert.Equal([2, 1, 1, 0], plan.Timesteps);
        var (first, again, third) = (plan.Evaluations[0], plan.Evaluations[1], plan.Evaluations[2]);
        Assert.Equal(Latent, first.X, 2e-6);
        Assert.Equal(Estimate, first.E, 2e-6);
        Assert.Equal((0, Estimate / 2), (again.X, again.E), Close);
        Assert.Equal([(first.SampleSlot, Latent), (first.KeepSlot, Estimate / 2)], again.History.Select(t => (t.Slot, t.Coefficient)), (a, b) => a.Item1 == b.Item1 && Math.Abs(a.Item2 - b.Item2) < 2e-6);
        Assert.Equal(-3, third.E / third.History.Single().Coefficient, 1e-9);          // 3/2 and -1/2

        static bool Close((double, double) a, (double, double) b) => Math.Abs(a.Item1 - b.Item1) + Math.Abs(a.Item2 - b.Item2) < 4e-6;
    }

    [Fact]
    public void Four_evaluations_make_one_Runge_Kutta_step()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 10 }, "pndm");
        Assert.Equal([900, 850, 850, 800, 800, 750], plan.Timesteps[..6]);
        Assert.Equal(19, plan.Evaluations.Count);
        double[] outputs = [0.3, -0.5, 0.9, 0.2];
        int call = 0;
        var seen = new List<double>();
        HostSampler.Run(plan with { Evaluations = [.. plan.Evaluations.Take(4)] }, [1.7], (_, _) => [outputs[call++]], after: (_, x) => seen.Add(x[0]));
        double[] bar = NoiseSchedule.Build(new SchedulerConfig(), finiteSigmas: false).AlphaBar;
        double latent = Math.Sqrt(bar[800] / bar[900]), estimate = Math.Sqrt(1 - bar[800]) - latent * Math.Sqrt(1 - bar[900]);
        Assert.Equal(latent * 1.7 + estimate * (0.3 / 6 - 0.5 / 3 + 0.9 / 3 + 0.2 / 6), seen[3], 1e-9);
    }

    [Fact]
    public void Pndm_means_are_of_the_outputs_themselves()
    {
        var config = new SchedulerConfig { Prediction = Prediction.V };
        var e = Sampler.Plan(config, new SamplerOptions { Steps = 10 }, "plms").Evaluations[0];
        Assert.Equal((0, 1), (e.Reading!.Value.A1, e.Reading.Value.B1));
        double[] bar = NoiseSchedule.Build(config, finiteSigmas: false).AlphaBar;
        // v = alpha*eps - sigma*x0 moves the latent along the circle: X = cos and E = sin of the angle between the levels.
        double angle = Math.Acos(Math.Sqrt(bar[900])) - Math.Acos(Math.Sqrt(bar[800]));
        Assert.Equal(Math.Cos(angle), e.X, 1e-6);
        Assert.Equal(-Math.Sin(angle), e.E, 1e-6);
    }

    [Fact]
    public void Improved_pndm_works_on_v_with_Adams_Bashforth_weights()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 4 }, "IPNDMScheduler");
        Assert.Equal(Prediction.V, plan.Prediction);
        Assert.Equal(1, plan.Timesteps[0], 1e-12);
        var (first, second) = (plan.Evaluations[0], plan.Evaluations[1]);
        double sigma = Math.Pow(Math.Sin(Math.PI * 3 / 8), 2);
        Assert.Equal((0, sigma), (first.X, Math.Round(first.E, 15)), (a, b) => Math.Abs(a.Item2 - b.Item2) < 1e-12 && a.Item1 == b.Item1);
        double x = Math.Sqrt(0.75) / Math.Sqrt(1 - sigma * sigma), e = 0.5 - x * sigma;
        Assert.Equal(x, second.X, 1e-12);
        Assert.Equal((1.5 * e, -0.5 * e), (second.E, second.History.Single().Coefficient), (a, b) => Math.Abs(a.Item1 - b.Item1) + Math.Abs(a.Item2 - b.Item2) < 1e-12);
    }

    [Fact]
    public void Runge_Kutta_needs_four_steps() =>
        Assert.Contains("at least 4", Assert.Throws<UsageException>(() => Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 3 }, "pndm")).Message, StringComparison.Ordinal);
}
