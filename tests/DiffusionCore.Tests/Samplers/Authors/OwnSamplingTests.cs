using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Authors;

namespace DiffusionCore.Tests.Samplers.Authors;

/// <summary>Options of the samplers of networks' authors: taken or refused, never passed over.</summary>
public sealed class OwnSamplingTests
{
    private static readonly SamplerOptions Options = new() { Steps = 25 };

    public static TheoryData<string> Kinds => ["guided", "score", "consistency", "edm", "latent"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void An_order_and_a_shift_are_refused_by_samplers_without_them(string kind)
    {
        IOwnSampling own = kind switch
        {
            "guided" => new GuidedDiffusion(),
            "score" => new ScoreSampling(),
            "consistency" => new ConsistencySampling(),
            "edm" => new EdmSampling(),
            _ => new LatentSampling { Scheduler = new SchedulerConfig { Path = "config.json", ClassName = "DDIMScheduler" } },
        };
        Assert.NotNull(own.Plan(Options with { SnrShift = 1 }, null, null));
        Assert.Contains("order: ", Assert.Throws<UsageException>(() => own.Plan(Options with { SolverOrder = 2 }, null, null)).Message, StringComparison.Ordinal);
        Assert.Contains("snr shift: ", Assert.Throws<UsageException>(() => own.Plan(Options with { SnrShift = 2 }, null, null)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void On_noise_levels_the_order_reaches_the_solver_and_names_are_read_as_elsewhere()
    {
        var own = new EdmSampling();
        var lms = own.Plan(Options, "lms", null)!;
        Assert.Equal(lms.Evaluations.Select(e => e.E), own.Plan(Options with { SolverOrder = 4 }, "lms", null)!.Evaluations.Select(e => e.E));
        Assert.NotEqual(lms.Evaluations.Select(e => e.E), own.Plan(Options with { SolverOrder = 1 }, "lms", null)!.Evaluations.Select(e => e.E));
        Assert.Contains("order: euler has none", Assert.Throws<UsageException>(() => own.Plan(Options with { SolverOrder = 2 }, "euler", null)).Message, StringComparison.Ordinal);
        Assert.Equal("dpmpp_2m", own.Plan(Options, "DPM++ 2M", null)!.Name);
    }
}
