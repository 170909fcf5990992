using System.Diagnostics;
using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Benchmarks;

/// <summary>
/// One step of each stage of a Frido model, and of the later stages once more with the maps that modulate their norms computed in every step rather than
/// once per image. Both run in turns on the same latents; their answers must be the same bytes.
/// </summary>
public static class PyramidTable
{
    private const int Warm = 1;

    /// <param name="rounds">Steps of each, in turns; the median counts.</param>
    public static void Run(string path, int threads, int rounds)
    {
        using var model = ModelFolder.Load(path);
        var unet = model.Network.Network as PyramidUNet ?? throw new UsageException($"{path} is no FridoDiffusion");
        using var device = new CpuDevice(threads);
        using var weights = device.CreateWeightStore();
        using var pipeline = new GeneratePipeline(model, device);
        var plan = pipeline.Plan(new GenerateRequest { Options = new SamplerOptions { Steps = 10 }, Layout = pipeline.Model.TakesText ? null : [new LayoutObject("0", 0, 0, 1, 1)] });
        foreach (bool guided in (bool[])[false, true])
        {
            for (int stage = 0; stage < model.Stages.Count; stage++)
            {
                using var once = new Case(device, weights, unet, stage, Rate.Request, plan, guided);
                if (stage == 0)
                {
                    Console.WriteLine($"stage {stage}{(guided ? ", guided" : "")}: {Median([once], rounds)[0]:F1} ms per step");
                    continue;
                }

                using var every = new Case(device, weights, unet, stage, Rate.Step, plan, guided);
                double[] ms = Median([once, every], rounds);
                if (!once.Result().AsSpan().SequenceEqual(every.Result())) throw new InvalidOperationException("the maps once and in every step give different numbers");
                Console.WriteLine($"stage {stage}{(guided ? ", guided" : "")}: {ms[0]:F1} ms per step with the maps once per image ({once.RequestMilliseconds:F1} ms), {ms[1]:F1} ms with the maps in every step: {ms[1] / ms[0]:F2} times");
            }
        }
    }

    private static double[] Median(Case[] cases, int rounds)
    {
        var times = cases.Select(_ => new List<double>()).ToArray();
        for (int r = -Warm; r < rounds; r++)
        {
            for (int c = 0; c < cases.Length; c++)
            {
                double ms = cases[c].Step();
                if (r >= 0) times[c].Add(ms);
            }
        }

        return [.. times.Select(Timing.Median)];
    }

    private sealed class Case : IDisposable
    {
        private readonly Device device;
        private readonly Executable executable;
        private readonly List<DeviceBuffer> buffers = [];

        public Case(Device device, WeightStore weights, PyramidUNet unet, int stage, Rate maps, SamplerPlan plan, bool guided)
        {
            this.device = device;
            var shape = new SessionShape(1, unet.Config.ImageSize, unet.Config.ImageSize, guided) { Tokens = 77 };
            executable = device.Prepare(device.Plan(DenoiseSession.Record(new PyramidStage(unet, stage, maps), plan, shape)), weights);
            var random = new TorchCpuGenerator(1);
            foreach (var node in executable.Plan.Graph.Nodes)
            {
                if (node.Op is not InputOp input) continue;
                var values = new float[node.Type.Shape.Count];
                random.Normal(values);
                if (input.InputName == "timestep") values[0] = 501;
                var buffer = device.Allocate(node.Type.Bytes);
                buffers.Add(buffer);
                device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), buffer);
                executable.Bind(input.InputName, buffer);
            }

            long start = Stopwatch.GetTimestamp();
            executable.Run(Rate.Request);
            RequestMilliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }

        public double RequestMilliseconds { get; }

        public double Step()
        {
            long start = Stopwatch.GetTimestamp();
            executable.Run(Rate.Step);
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }

        public byte[] Result()
        {
            var bytes = new byte[executable.Plan.Graph.Nodes[executable.Plan.Graph.Outputs.First(o => o.Name == "prediction").Id].Type.Bytes];
            device.Download(executable.Output("prediction"), bytes);
            return bytes;
        }

        public void Dispose()
        {
            executable.Dispose();
            foreach (var buffer in buffers) buffer.Dispose();
        }
    }
}
