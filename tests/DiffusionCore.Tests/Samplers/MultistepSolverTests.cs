using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>Solvers in lambda = ln(alpha/sigma), one step of each worked by hand on the noise levels 4, 2, 1: steps of h = ln 2 with alpha' = 1/sqrt(2) at their end.</summary>
public sealed class MultistepSolverTests
{
    private const double H = 0.69314718055994531;

    private static readonly double Alpha = 1 / Math.Sqrt(2), Ratio = Math.Sqrt(5) / 2 / Math.Sqrt(2);

    private static readonly SamplerOptions Levels = new() { Sigmas = [4, 2, 1, 0.5] };

    private static readonly SchedulerConfig Above = new() { FinalSigmaZero = false };

    [Fact]
    public void Deis_integrates_the_line_in_ln_rho()
    {
        var second = Sampler.Plan(Above, Levels, "deis").Evaluations[1];
        Assert.Equal(Math.Sqrt(5) / Math.Sqrt(2), second.X, 1e-12);        // alpha'/alpha
        Assert.Equal(-1.442695041 * Alpha, second.E, 1e-8);                // (4 - ...)/ln 2 by hand: 3.442695 - 4.885390
        Assert.Equal(0.442695041 * Alpha, second.History.Single().Coefficient, 1e-8);
    }

    [Fact]
    public void UniPc_folds_the_corrector_into_the_next_update()
    {
        var plan = Sampler.Plan(new SchedulerConfig(), Levels with { Sigmas = [4, 2, 1, 0] }, "unipc");
        var second = plan.Evaluations[1];
        // Predictor 3/4 m1 - 1/4 m0; the corrector of the step before, 1/4 (m1 - m0) at alpha 1/sqrt(5), comes through the factor of the latent.
        Assert.Equal(Ratio, second.X, 1e-12);
        Assert.Equal(0.875 * Alpha, second.D, 1e-12);
        Assert.Equal(-0.375 * Alpha, second.History.Single().Coefficient, 1e-12);
        var uncorrected = Sampler.Plan(new SchedulerConfig { DisableCorrector = [0] }, Levels with { Sigmas = [4, 2, 1, 0] }, "unipc").Evaluations[1];
        Assert.Equal((0.75 * Alpha, -0.25 * Alpha), (uncorrected.D, uncorrected.History.Single().Coefficient));
    }

    [Fact]
    public void SaSolver_without_noise_is_an_exponential_Adams_method()
    {
        // Three training steps: every time is below 200, so tau = 0.
        var second = Sampler.Plan(Above with { TrainSteps = 3, TrainedBetas = [0.1, 0.2, 0.3] }, Levels, "sa_solver").Evaluations[1];
        Assert.Equal(Ratio, second.X, 1e-12);
        Assert.Equal((0.5 + 0.75 * H) * Alpha, second.D, 1e-12);
        Assert.Equal(-0.75 * H * Alpha, second.History.Single().Coefficient, 1e-12);
        Assert.Equal((0, true), (second.N, second.DrawsNoise));
    }

    [Fact]
    public void SaSolver_adds_noise_between_the_times_200_and_800()
    {
        var plan = Sampler.Plan(Above, new SamplerOptions { Steps = 10 }, "sa_solver");
        Assert.All(plan.Evaluations, e => Assert.Equal(e.Time is >= 200 and <= 800, e.N > 0));
    }

    [Fact]
    public void Singlestep_starts_again_from_the_latent_of_the_first_evaluation()
    {
        var plan = Sampler.Plan(Above with { LowerOrderFinal = false }, new SamplerOptions { Sigmas = [4, 2, 1] }, "dpm-singlestep");
        var (first, second) = (plan.Evaluations[0], plan.Evaluations[1]);
        Assert.True(first.SampleSlot >= 0);
        Assert.Equal(0, second.X);
        Assert.Equal(0.75 * Alpha, second.D, 1e-12);                            // (1 - e^-2h), all of it from the midpoint
        Assert.Equal(Math.Sqrt(17) / 4 / Math.Sqrt(2), second.History.Single(t => t.Slot == first.SampleSlot).Coefficient, 1e-12);
        Assert.Equal(0, second.History.Single(t => t.Slot == first.KeepSlot).Coefficient, 1e-12);
    }

    [Theory]
    [InlineData(2, 7, false, new[] { 1, 2, 1, 2, 1, 2, 1 })]
    [InlineData(2, 6, true, new[] { 1, 2, 1, 2, 1, 1 })]
    [InlineData(3, 6, true, new[] { 1, 2, 3, 1, 2, 1 })]
    [InlineData(3, 7, false, new[] { 1, 2, 3, 1, 2, 3, 1 })]
    [InlineData(3, 8, false, new[] { 1, 2, 3, 1, 2, 3, 1, 2 })]
    [InlineData(3, 6, false, new[] { 1, 2, 3, 1, 2, 3 })]
    public void Singlestep_orders_follow_the_number_of_steps(int order, int steps, bool lowers, int[] expected)
    {
        var plan = Sampler.Plan(Above with { SolverOrder = order, LowerOrderFinal = lowers, SolverType = "heun" }, new SamplerOptions { Steps = steps }, "dpm-singlestep");
        Assert.Equal(expected, plan.Evaluations.Select(e => e.History.Count + (e.History.Count == 0 ? 1 : 0)));
    }

    [Fact]
    public void Inverse_solvers_climb()
    {
        var ddim = Sampler.Plan(new SchedulerConfig { TrainSteps = 3, TrainedBetas = [0.1, 0.2, 0.3] }, new SamplerOptions { Steps = 3 }, "ddim-inverse");
        Assert.Equal([0, 1, 2], ddim.Timesteps);
        Assert.Equal((1, 0), (ddim.Evaluations[0].Alpha, ddim.Evaluations[0].Sigma));
        Assert.Equal(Math.Sqrt(0.9), ddim.Evaluations[0].D, 1e-6);
        Assert.Equal(Math.Sqrt(0.28), ddim.Evaluations[1].E, 1e-6);
        var dpm = Sampler.Plan(new SchedulerConfig(), new SamplerOptions { Steps = 10 }, "dpm-inverse");
        for (int i = 0; i < 10; i++) Assert.True(dpm.Sigmas![i + 1] > dpm.Sigmas[i]);
    }
}
