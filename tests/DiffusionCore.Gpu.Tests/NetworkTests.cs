using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Tests;
using DiffusionCore.Tests.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Gpu.Tests;

/// <summary>Whole networks: the peers' numbers, and the images of the CPU device.</summary>
[Collection(Devices.Name)]
public class NetworkTests
{
    public static TheoryData<string> Networks()
    {
        var names = new TheoryData<string>();
        if (ConformanceData.Folder is null) names.Add("none");
        else
        {
            foreach (string folder in Directory.GetDirectories(ConformanceData.PathOf("golden"), "unet2d_*").Order(StringComparer.Ordinal)) names.Add(Path.GetFileName(folder));
            // One of each family, so that every operation meets a network that uses it.
            foreach (string name in (string[])["unet2dcond_sd15", "autoencoder_kl_sd", "vq_model", "clip_text_l", "dit", "t2i_adapter", "adm_unet_c", "edm2_unet", "ldm_bert"])
                if (Directory.Exists(ConformanceData.PathOf("golden", name))) names.Add(name);
        }

        return names;
    }

    [OpenCLConformanceTheory]
    [Trait("Category", "Conformance")]
    [MemberData(nameof(Networks))]
    public void A_network_gives_the_numbers_of_the_peer_on_opencl(string name)
    {
        string folder = ConformanceData.PathOf("golden", name);
        using var component = Component.Load(folder);
        using var golden = Checkpoint.Open(Path.Combine(folder, "golden.safetensors"));
        foreach (var result in Component.Run(component, golden, Devices.OpenCL)) Compare(golden, result, 2e-5f);
    }

    [OpenCLFact]
    public void The_classifier_gives_the_numbers_of_its_training_program_on_opencl()
    {
        using var component = Component.Load(Bundled("fashion-classifier"));
        using var golden = Checkpoint.Open(Path.Combine(Repository(), "tests", "DiffusionCore.Tests", "Data", "classifier-golden.safetensors"));
        foreach (var result in Component.Run(component, golden, Devices.OpenCL)) Compare(golden, result, 1e-5f);
    }

    [OpenCLTheory]
    [InlineData("ddim", 0.0, 5)]
    [InlineData("ddpm", 0.0, 3)]
    [InlineData("dpmpp_2m", 0.0, 4)]
    [InlineData("ddim", 1.0, 3)]
    public void Images_are_those_of_the_cpu_within_two_levels(string sampler, double eta, int steps)
    {
        using var model = ModelFolder.Load(Bundled("fashion-ddpm-32"));
        using var cpu = new CpuDevice(0, exact: true);
        var request = new GenerateRequest { Count = 2, Seed = 11, Classes = [3, 7], Guidance = 1.5, Sampler = sampler, Options = new SamplerOptions { Steps = steps, Eta = eta } };
        var (expected, got) = (Make(cpu), Make(Devices.OpenCL));
        Assert.Equal(2, got.Count);
        for (int i = 0; i < 2; i++)
        {
            int worst = expected[i].Zip(got[i], (a, b) => Math.Abs(a - b)).Max();
            Assert.True(worst <= 2, $"image {i}: a pixel differs by {worst} of 255");
            Assert.True(expected[i].Distinct().Count() > 20, "the image is blank");
        }

        List<byte[]> Make(Device device)
        {
            using var pipeline = new GeneratePipeline(model, device);
            var images = new List<byte[]>();
            pipeline.Generate(request, image => images.Add(image.Pixels));
            return images;
        }
    }

    [OpenCLFact]
    public void Every_step_of_the_bundled_network_is_a_kernel()
    {
        using var model = ModelFolder.Load(Bundled("fashion-ddpm-32"));
        using var pipeline = new GeneratePipeline(model, Devices.OpenCL);
        var session = pipeline.Session(new GenerateRequest { Options = new SamplerOptions { Steps = 2 } }, 1);
        Assert.All(session.Plan.Segments.SelectMany(s => s.Steps), s => Assert.NotEqual("reference-on-host", s.Implementation.Name));
        Assert.Equal(session.Plan.ArenaBytes, session.Executable.AllocatedBytes);
        var seconds = new double[session.Plan.Segments[(int)Rate.Step].Steps.Count];
        session.Start(new DenoiseStart { Seeds = [1] });
        session.Executable.RunTimed(Rate.Step, seconds);
        Assert.All(seconds, s => Assert.True(s > 0));
    }

    /// <summary>A network as small as they come, with every kind of block, on the accelerator that is made for checking.</summary>
    [Fact]
    public void A_tiny_network_agrees_with_the_interpreter_on_ilgpu_cpu()
    {
        using var component = Component.Load(Bundled("fashion-classifier"));
        var network = (ImageClassifier)component.Network;
        var graph = new Graph();
        graph.Output("y", network.Record(graph, graph.Input("x", new Shape(1, 3, 2, network.Config.InChannels))).Logits);
        var inputs = OpCases.Fill(graph);
        double error = GraphRunner.RelativeError(Interpreter.Run(graph, inputs)["y"], GraphRunner.OnDevice(Devices.IlgpuCpu, graph, inputs)["y"]);
        Assert.True(error < 1e-5, $"{error:E2}");
    }

    private static void Compare(Checkpoint golden, TensorData result, float bound)
    {
        var expected = new byte[result.Data.Length];
        golden.Read(result.Name, expected);
        var want = MemoryMarshal.Cast<byte, float>(expected);
        var got = MemoryMarshal.Cast<byte, float>(result.Data.Span);
        float largest = 0, error = 0;
        for (int i = 0; i < want.Length; i++)
        {
            largest = Math.Max(largest, Math.Abs(want[i]));
            error = Math.Max(error, Math.Abs(want[i] - got[i]));
        }

        Assert.True(error <= bound * largest, $"{result.Name}: error {error} of {largest} is {error / largest:E2}");
    }

    internal static string Bundled(string name) => Path.Combine(Repository(), "weights", name);

    private static string Repository()
    {
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
            if (File.Exists(Path.Combine(at.FullName, "DiffusionCore.sln"))) return at.FullName;
        throw new DirectoryNotFoundException("the repository");
    }
}
