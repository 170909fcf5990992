using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Models;

/// <summary>The bundled models, from the repository's own weights folder.</summary>
public class PipelineTests
{
    [Theory]
    [InlineData("ddpm")]
    [InlineData("ddim")]
    [InlineData("heun")]
    [InlineData("dpmpp_2m")]
    public void A_denoising_step_allocates_nothing(string sampler)
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        using var device = new CpuDevice(2);
        using var pipeline = new GeneratePipeline(model, device);
        var session = pipeline.Session(new GenerateRequest { Classes = [3], Guidance = 1.5, Sampler = sampler, Options = new SamplerOptions { Steps = 20 } }, 2);
        session.Start(new DenoiseStart { Seeds = [1, 2], Guidance = 1.5 });
        for (int i = 0; i < 4; i++) session.Evaluate(i);               // code is compiled and tables are filled at first use
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 4; i < 10; i++) session.Evaluate(i);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(session.Plan.ArenaBytes, session.Executable.AllocatedBytes);
    }

    [Fact]
    public void The_classifier_gives_the_numbers_of_its_training_program()
    {
        using var component = Component.Load(TestModels.Bundled("fashion-classifier"));
        Assert.Empty(component.Account.Unused);
        using var golden = Checkpoint.Open(Path.Combine(AppContext.BaseDirectory, "Data", "classifier-golden.safetensors"));
        using var device = new CpuDevice(2);
        foreach (var result in Component.Run(component, golden, device))
        {
            var expected = new byte[result.Data.Length];
            golden.Read(result.Name, expected);
            var want = MemoryMarshal.Cast<byte, float>(expected);
            var got = MemoryMarshal.Cast<byte, float>(result.Data.Span);
            for (int i = 0; i < want.Length; i++) Assert.True(Math.Abs(want[i] - got[i]) < 2e-5, $"{result.Name}[{i}]: {want[i]} and {got[i]}");
        }
    }

    [Fact]
    public void The_engine_agrees_with_the_interpreter_on_the_bundled_network()
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        var graph = new Graph();
        var x = graph.Input("x", new Shape(1, 8, 8, 1));
        var classes = graph.Input("c", new Shape(1), DType.I64, Rate.Request);
        graph.Output("y", ((DiffusionCore.Models.UNet2DModel)model.Network.Network).Record(graph, x, graph.Input("t", new Shape(1)), classes));
        var inputs = new Dictionary<string, double[]> { ["x"] = Runtime.GraphRunner.Numbers(64, 5), ["t"] = [321], ["c"] = [7] };
        using var device = new CpuDevice(2);
        double error = Runtime.GraphRunner.RelativeError(Interpreter.Run(graph, inputs)["y"], Runtime.GraphRunner.OnDevice(device, graph, inputs)["y"]);
        Assert.True(error < 1e-5, $"{error:E2}");
    }

    [Fact]
    public void A_request_that_does_not_fit_the_model_is_refused_before_anything_runs()
    {
        using var model = ModelFolder.Load(TestModels.Bundled("fashion-ddpm-32"));
        using var device = new CpuDevice(1);
        using var pipeline = new GeneratePipeline(model, device);
        Assert.Throws<UsageException>(() => pipeline.Plan(new GenerateRequest { Width = 30, Height = 32 }));
        Assert.Throws<UsageException>(() => pipeline.Plan(new GenerateRequest { Count = 0 }));
        Assert.Throws<UsageException>(() => pipeline.Plan(new GenerateRequest { Guidance = double.NaN }));
        Assert.Throws<UsageException>(() => pipeline.Plan(new GenerateRequest { Sampler = "eular" }));
        Assert.Throws<MemoryException>(() => pipeline.Session(new GenerateRequest { MemoryLimit = 1000 }, 1));
        Assert.Throws<OperationCanceledException>(() => pipeline.Generate(new GenerateRequest(), _ => { }, null, new CancellationToken(true)));
        Assert.Throws<InvalidOperationException>(() => pipeline.Generate(new GenerateRequest { Options = new SamplerOptions { Steps = 2 } }, _ => { }, _ => throw new InvalidOperationException("callback")));
    }
}
