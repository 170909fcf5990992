using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.KDiffusion;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Tests.Samplers.KDiffusion;

/// <summary>Samplers on noise levels in whole runs of the bundled model.</summary>
public sealed class PipelineSamplerTests : IDisposable
{
    private readonly ModelFolder model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
    private readonly CpuDevice device = new(2);
    private readonly GeneratePipeline pipeline;

    public PipelineSamplerTests() => pipeline = new GeneratePipeline(model, device);

    public static TheoryData<string> Samplers => [.. KSampler.Names.Where(n => n != "rk45")];

    public void Dispose()
    {
        pipeline.Dispose();
        device.Dispose();
        model.Dispose();
    }

    /// <summary>Noise, paths and step sizes belong to an image: whatever is made beside it.</summary>
    [Theory]
    [MemberData(nameof(Samplers))]
    public void The_batch_changes_no_pixel(string sampler)
    {
        var request = Request(sampler) with { Count = 2 };
        byte[][] together = pipeline.Make(request with { Batch = 2 }), apart = pipeline.Make(request with { Batch = 1 });
        Assert.Equal(together, apart);
        Assert.NotEqual(together[0], together[1]);
    }

    [Fact]
    public void An_adaptive_run_ends_where_a_fine_fixed_one_does()
    {
        var fine = Request("heun") with { Options = new SamplerOptions { Steps = 60, Compatibility = Compatibility.KDiffusion } };
        var adaptive = Request("rk45") with { Options = new SamplerOptions { Steps = 60, Compatibility = Compatibility.KDiffusion, Levels = new KOptions { RelativeTolerance = 1e-3, AbsoluteTolerance = 1e-3 } } };
        double difference = pipeline.Make(fine)[0].Zip(pipeline.Make(adaptive)[0], (a, b) => Math.Abs(a - b)).Average();
        Assert.True(difference < 4, $"mean difference of {difference:f2} grey levels of 255");
    }

    [Fact]
    public void A_run_of_more_steps_follows_the_same_noise()
    {
        // Another seed is another garment; more steps with the same seed are nearly the same one.
        byte[] few = pipeline.Make(Sde(40, 5))[0], many = pipeline.Make(Sde(80, 5))[0], other = pipeline.Make(Sde(80, 6))[0];
        Assert.True(Distance(few, many) < 0.5 * Distance(other, many), $"{Distance(few, many):f1} against {Distance(other, many):f1}");

        static double Distance(byte[] a, byte[] b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Average();
        GenerateRequest Sde(int steps, ulong seed) => Request("dpmpp_sde") with { Seed = seed, Schedule = "karras", Options = new SamplerOptions { Steps = steps } };
    }

    [Fact]
    public void A_guidance_interval_over_everything_changes_nothing_and_over_nothing_is_no_guidance()
    {
        var request = Request("euler") with { Guidance = 2 };
        Assert.Equal(pipeline.Make(request), pipeline.Make(request with { GuidanceInterval = (0, 1e6) }));
        byte[] off = pipeline.Make(request with { GuidanceInterval = (1e5, 1e6) })[0], one = pipeline.Make(request with { Guidance = 1 })[0];
        // u + (c - u) is c to the last bit or so.
        Assert.All(off.Zip(one), p => Assert.InRange(Math.Abs(p.First - p.Second), 0, 1));
        Assert.NotEqual(pipeline.Make(request)[0], one);
    }

    [Fact]
    public void Cfg_plus_plus_needs_both_branches() =>
        Assert.Contains("reads both branches of guidance", Assert.Throws<UsageException>(() => pipeline.Make(Request("euler_cfg_pp") with { Guidance = 1 })).Message, StringComparison.Ordinal);

    private static GenerateRequest Request(string sampler) => new() { Seed = 5, Classes = [3], Guidance = 1.5, Sampler = sampler, Options = new SamplerOptions { Steps = 6, Compatibility = Compatibility.KDiffusion } };
}
