using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Models;

/// <summary>What goes wrong in the middle of a run leaves a pipeline that can be used again.</summary>
public class PipelineFaultTests
{
    [Fact]
    public void A_callback_that_throws_ends_the_run_and_the_next_run_is_right()
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        using var device = new CpuDevice(1);
        var request = new GenerateRequest { Seed = 5, Count = 2, Batch = 1, Options = new SamplerOptions { Steps = 2 } };
        byte[] expected;
        using (var fresh = new GeneratePipeline(model, device)) expected = Image(request, fresh);
        using var pipeline = new GeneratePipeline(model, device);
        int made = 0;
        Assert.Equal("report", Assert.Throws<InvalidOperationException>(() => pipeline.Generate(request, _ => made++, _ => throw new InvalidOperationException("report"))).Message);
        Assert.Equal(0, made);
        Assert.Equal("finished", Assert.Throws<InvalidOperationException>(() => pipeline.Generate(request, _ => throw new InvalidOperationException("finished"))).Message);
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => pipeline.Generate(request, _ => made++, _ => stop.Cancel(), stop.Token));
        Assert.Equal(0, made);
        Assert.Equal(expected, Image(request, pipeline));
    }

    private static byte[] Image(GenerateRequest request, GeneratePipeline pipeline) => [.. pipeline.Make(request).SelectMany(p => p)];
}
