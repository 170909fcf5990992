using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>One step of each sampler worked by hand, on three training steps with alpha-bar 0.9, 0.72, 0.504 or on noise levels 4, 2, 1, 0.</summary>
public sealed class SamplerStepTests
{
    // Betas are rounded to float.
    private const double Tolerance = 1e-6;

    private static readonly SchedulerConfig Three = new() { TrainSteps = 3, TrainedBetas = [0.1, 0.2, 0.3] };

    private static readonly SamplerOptions Levels = new() { Sigmas = [4, 2, 1, 0] };

    [Theory]
    [InlineData("fixed_small", 0.411527)]       // sqrt(0.28/0.496 * 0.3)
    [InlineData("fixed_small_log", 0.411527)]
    [InlineData("fixed_large", 0.547723)]       // sqrt(0.3)
    public void Ddpm_is_the_posterior(string variance, double noise)
    {
        var plan = Sampler.Plan(Three with { VarianceType = variance }, new SamplerOptions { Steps = 3 }, "ddpm");
        Assert.Equal([2, 1, 0], plan.Timesteps);
        var first = plan.Evaluations[0];
        Assert.Equal(Math.Sqrt(0.504), first.Alpha, Tolerance);
        Assert.Equal(Math.Sqrt(0.496), first.Sigma, Tolerance);
        Assert.Equal(Math.Sqrt(0.7) * 0.28 / 0.496, first.X, Tolerance);
        Assert.Equal(Math.Sqrt(0.72) * 0.3 / 0.496, first.D, Tolerance);
        Assert.Equal(noise, first.N, Tolerance);
        var last = plan.Evaluations[2];
        Assert.Equal((0, 1, 0, false), (last.X, Math.Round(last.D, 12), last.N, last.DrawsNoise));
        Assert.Equal(1, plan.Clip);
    }

    [Theory]
    [InlineData("learned_range", -1, 0.169355)]
    [InlineData("learned_range", 1, 0.3)]
    [InlineData("learned", -1, 0.36787944)]     // the output is ln of the variance
    public void Ddpm_takes_a_learned_variance(string type, double output, double variance)
    {
        var plan = Sampler.Plan(Three with { VarianceType = type, ClipSample = false }, new SamplerOptions { Steps = 3 }, "ddpm");
        var seen = new List<double>();
        double[] Network(double[] x, double t) => [0, output];
        HostSampler.Run(plan, [0.0], Network, z => z[0] = 1, after: (_, x) => seen.Add(x[0]));
        Assert.Equal(Math.Sqrt(variance), seen[0], 1e-5);
        Assert.Null(plan.Evaluations[2].LearnedVariance);
    }

    [Fact]
    public void Ddim_moves_along_eps()
    {
        var first = Sampler.Plan(Three, new SamplerOptions { Steps = 3 }, "ddim").Evaluations[0];
        Assert.Equal((0, 0, false), (first.X, first.N, first.DrawsNoise));
        Assert.Equal(Math.Sqrt(0.72), first.D, Tolerance);
        Assert.Equal(Math.Sqrt(0.28), first.E, Tolerance);
        var noisy = Sampler.Plan(Three, new SamplerOptions { Steps = 3, Eta = 1 }, "ddim").Evaluations;
        Assert.Equal(0.411527, noisy[0].N, Tolerance);
        Assert.Equal(Math.Sqrt(0.28 - 0.169355), noisy[0].E, 2e-6);
        Assert.True(noisy[2].DrawsNoise);
        Assert.Equal(0, noisy[2].N);
    }

    [Fact]
    public void Ddim_ends_at_the_first_alpha_bar_where_told()
    {
        var last = Sampler.Plan(Three with { SetAlphaToOne = false }, new SamplerOptions { Steps = 3 }, "ddim").Evaluations[2];
        Assert.Equal(Math.Sqrt(0.9), last.D, Tolerance);
        Assert.Equal(Math.Sqrt(0.1), last.E, Tolerance);
    }

    [Fact]
    public void Euler_goes_straight_towards_denoised()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), Levels, "euler");
        Assert.Equal([(0.5, 0.5), (0.5, 0.5), (0, 1)], plan.Evaluations.Select(e => (e.X, e.D)));
        Assert.Equal(1 / Math.Sqrt(17), plan.Evaluations[0].InputScale);
        Assert.Equal(4, plan.InitialSigma);
    }

    [Theory]
    [InlineData(Prediction.Epsilon)]
    [InlineData(Prediction.Sample)]
    [InlineData(Prediction.V)]
    public void Euler_with_churn_raises_the_noise_then_steps(Prediction prediction)
    {
        var plan = Sampler.Plan(new SchedulerConfig { Prediction = prediction }, Levels with { Churn = 0.75, ChurnNoise = 1.1 }, "euler");
        const double X = 3, M = 0.4, Z = 0.7, S = 4, Raised = 5;                       // gamma = 0.75/3
        double x = 0;
        HostSampler.Run(plan, [X], (_, _) => [M], z => z[0] = Z, after: (e, v) => x = e.Step == 0 ? v[0] : x);
        double hat = X + Z * 1.1 * Math.Sqrt(Raised * Raised - S * S);
        double denoised = prediction switch { Prediction.Epsilon => hat - Raised * M, Prediction.Sample => M, _ => hat / 17 - M * S / Math.Sqrt(17) };
        Assert.Equal(hat + (hat - denoised) / Raised * (2 - Raised), x, 1e-12);
    }

    [Fact]
    public void Heun_averages_both_slopes()
    {
        var plan = Sampler.Plan(new SchedulerConfig { Prediction = Prediction.Sample }, Levels, "heun");
        Assert.Equal(5, plan.Evaluations.Count);
        Assert.Equal([4, 2, 2, 1, 1], plan.Evaluations.Select(e => e.Sigma));
        int call = 0;
        var seen = new List<double>();
        HostSampler.Run(plan, [8.0], (_, _) => [call++ == 0 ? 0 : 2], after: (_, x) => seen.Add(x[0]));
        Assert.Equal(4, seen[0], 1e-12);                                               // 8 - 2*8/4
        Assert.Equal(5, seen[1], 1e-12);                                               // 8 - 2*(2 + (4 - 2)/2)/2
    }

    [Fact]
    public void DpmPlusPlus2M_extrapolates_denoised()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), Levels, "dpmpp_2m");
        var second = plan.Evaluations[1];
        Assert.Equal(1 / Math.Sqrt(2) / (2 / Math.Sqrt(5)), second.X, 1e-12);          // ratio of the sigmas with alpha^2 + sigma^2 = 1
        Assert.Equal(0.5 / Math.Sqrt(2) * 1.5, second.D, 1e-12);                       // h = ln 2: phi = 1/2, r = 1
        Assert.Equal(-0.25 / Math.Sqrt(2), second.History.Single().Coefficient, 1e-12);
        Assert.Equal(plan.Evaluations[0].KeepSlot, second.History.Single().Slot);
        Assert.Equal((Kept.Denoised, 0, 1.0), (second.Keep, second.KeepSlot, second.InputScale));
        Assert.Equal((0, 1), (plan.Evaluations[2].X, plan.Evaluations[2].D));
    }

    [Fact]
    public void A_start_from_an_image_begins_later_with_no_history()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 10, SkipSteps = 4 }, "dpmpp_2m");
        Assert.Equal(6, plan.Evaluations.Count);
        Assert.Empty(plan.Evaluations[0].History);
        Assert.Equal(plan.Timesteps[4], plan.Evaluations[0].Time);
    }
}
