using DiffusionCore.Guidance;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Guidance;

/// <summary>Guidance, F64 latents and RePaint in whole runs of the bundled model.</summary>
public sealed class GuidedPipelineTests : IDisposable
{
    private readonly ModelFolder model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
    private readonly CpuDevice device = new(2);
    private readonly GeneratePipeline pipeline;

    public GuidedPipelineTests() => pipeline = new GeneratePipeline(model, device);

    public static TheoryData<string> Forms => ["rescale", "apg", "pag", "slg", "threshold", "f64"];

    public void Dispose()
    {
        pipeline.Dispose();
        device.Dispose();
        model.Dispose();
    }

    [Theory]
    [MemberData(nameof(Forms))]
    public void The_batch_changes_no_pixel_and_the_form_does(string form)
    {
        var plain = Request() with { Count = 2 };
        var request = With(plain, form);
        byte[][] together = pipeline.Make(request with { Batch = 2 }), apart = pipeline.Make(request with { Batch = 1 });
        Assert.Equal(together, apart);
        byte[][] without = pipeline.Make(plain with { Batch = 2 });
        if (form == "f64") Assert.All(together.Zip(without), p => Assert.True(p.First.Zip(p.Second).All(v => Math.Abs(v.First - v.Second) <= 1)));
        else Assert.NotEqual(without, together);
    }

    [Fact]
    public void A_scale_of_zero_leaves_the_perturbed_branch_out() =>
        Assert.Equal(pipeline.Make(Request()), pipeline.Make(Request() with { Forms = new GuidanceOptions { Perturbed = new PerturbedGuidance(Perturbation.Attention, 0, []) } }));

    [Fact]
    public void Perturbed_attention_works_without_a_condition()
    {
        var request = Request() with { Classes = [], Guidance = 1 };
        Assert.NotEqual(pipeline.Make(request), pipeline.Make(request with { Forms = new GuidanceOptions { Perturbed = new PerturbedGuidance(Perturbation.Attention, 3, ["mid_block"]) } }));
    }

    [Fact]
    public void Repaint_keeps_the_given_part_and_makes_the_rest()
    {
        byte[] given = pipeline.Make(Request())[0];
        var request = Request() with
        {
            Sampler = "repaint",
            Seed = 9,
            Options = new SamplerOptions { Steps = 10, JumpLength = 3, JumpSamples = 2 },
            Init = new SourceImage(32, 32, 1, Array.ConvertAll(given, v => v / 255f)),
            Mask = new SourceImage(32, 32, 1, [.. Enumerable.Range(0, 1024).Select(i => i % 32 >= 16 ? 1f : 0)]),
        };
        byte[] made = pipeline.Make(request)[0];
        int changed = 0;
        for (int i = 0; i < 1024; i++)
        {
            if (i % 32 < 16) Assert.InRange(Math.Abs(made[i] - given[i]), 0, 1);
            else if (Math.Abs(made[i] - given[i]) > 8) changed++;
        }

        Assert.True(changed > 50, $"{changed} pixels of the masked half differ");
        Assert.Equal(pipeline.Make(request)[0], made);
        byte[] wide = pipeline.Make(request with { State = DType.F64 })[0];
        Assert.All(made.Zip(wide), p => Assert.InRange(Math.Abs(p.First - p.Second), 0, 1));
        Assert.Contains("needs an image and a mask", Assert.Throws<UsageException>(() => pipeline.Make(request with { Mask = null })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Evaluations_are_counted_as_they_run()
    {
        pipeline.Make(Request());
        Assert.Equal(6, pipeline.NetworkEvaluations);
        pipeline.Make(Request() with { Sampler = "heun", Options = new SamplerOptions { Steps = 6 } });
        Assert.Equal(6 + 11, pipeline.NetworkEvaluations);
        long before = pipeline.NetworkEvaluations;
        pipeline.Make(Request() with { Sampler = "dpm_adaptive", Options = new SamplerOptions { Steps = 10 } });
        Assert.True(pipeline.NetworkEvaluations - before > 6);
    }

    [Theory]
    [InlineData("flow-euler", "is for rectified flow")]
    [InlineData("edm-euler", "is for preconditioned networks")]
    [InlineData("cm", "is for consistency models")]
    [InlineData("ipndm-v", "is for networks that predict v")]
    [InlineData("score-sde-ve", "is for score networks")]
    public void A_sampler_of_another_family_is_refused(string sampler, string problem)
    {
        string message = Assert.Throws<UsageException>(() => pipeline.Plan(Request() with { Sampler = sampler })).Message;
        Assert.Contains(problem, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void Rescaling_needs_both_branches() =>
        Assert.Contains("both branches", Assert.Throws<UsageException>(() => pipeline.Plan(Request() with { Guidance = 1, Forms = new GuidanceOptions { Rescale = 0.7 } })).Message, StringComparison.Ordinal);

    private static GenerateRequest Request() => new() { Seed = 5, Classes = [3], Guidance = 2.5, Sampler = "dpmpp_2m", Options = new SamplerOptions { Steps = 6 } };

    private static GenerateRequest With(GenerateRequest request, string form) => form switch
    {
        "rescale" => request with { Forms = new GuidanceOptions { Rescale = 0.7 } },
        "apg" => request with { Forms = new GuidanceOptions { Projected = new ProjectedGuidance(5, -0.5) } },
        "pag" => request with { Forms = new GuidanceOptions { Perturbed = new PerturbedGuidance(Perturbation.Attention, 3, []) } },
        "slg" => request with { Forms = new GuidanceOptions { Perturbed = new PerturbedGuidance(Perturbation.Skip, 2, ["mid_block"]) } },
        "threshold" => request with { Forms = new GuidanceOptions { Threshold = (0.9, 3) } },
        _ => request with { State = DType.F64 },
    };
}
