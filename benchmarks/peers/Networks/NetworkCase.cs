using System.Runtime.InteropServices;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Peers;

/// <summary>A network, or a part of one, at given shapes: its graph, inputs and weights, and the ratio that is wanted of it.</summary>
internal sealed class NetworkCase
{
    private const int Latent = 64, Tokens = 77;

    private readonly Func<string, Graph> record;

    private NetworkCase(string name, string component, string what, double target, Func<string, Graph> record)
    {
        (Name, Component, What, Target, this.record) = (name, component, what, target, record);
    }

    public string Name { get; }

    /// <summary>The folder of its weights in the model.</summary>
    public string Component { get; }

    public string What { get; }

    /// <summary>The largest wanted ratio of our time to the peer's; 0 where there is none.</summary>
    public double Target { get; }

    /// <summary>The largest relative rms difference to double precision that is right.</summary>
    public double LargestError { get; init; } = 2e-5;

    public static IReadOnlyList<NetworkCase> All =>
    [
        new("stack", "unet", "SD1.5 down_blocks.0: 2 x (residual block, transformer), 320@64", 0, Stack),
        new("unet1", "unet", "SD1.5 U-Net, 64x64 latent, batch 1", 0.65, folder => UNet(folder, 1, Latent)),
        new("unet2", "unet", "SD1.5 U-Net, 64x64 latent, batch 2", 0.65, folder => UNet(folder, 2, Latent)),
        new("vae", "vae", "SD1.5 VAE decoder, 512x512", 0.38, Decoder),
    ];

    /// <summary>A tiny U-Net for the check of the double reference itself.</summary>
    public static NetworkCase Tiny => new("tiny", "unet", "tiny U-Net", 0, folder => UNet(folder, 2, 8));

    /// <param name="model">The model's folder.</param>
    public Graph Record(string model) => record(Path.Combine(model, Component));

    /// <summary>Inputs by name, as the graph has them; the first image's do not depend on the batch.</summary>
    public static Dictionary<string, float[]> Inputs(Graph graph)
    {
        var inputs = new Dictionary<string, float[]>();
        foreach (var (name, id) in graph.Inputs)
        {
            var values = new float[graph.Nodes[id].Type.Shape.Count];
            if (name == "timestep") Array.Fill(values, 481);
            else Normal(values, name.Length);
            inputs[name] = values;
        }

        return inputs;
    }

    // Weights are read on demand, so what they are read from stays open until the process ends.
    private static INetwork Open(string folder) => Models.Component.Load(folder).Network;

    private static Graph UNet(string folder, int batch, int latent)
    {
        var network = (UNet2DConditionModel)Open(folder);
        var g = new Graph();
        var x = g.Input("sample", new Shape(batch, latent, latent, network.Config.InChannels));
        var t = g.Input("timestep", new Shape(1));
        var context = g.Input("context", new Shape(batch, Tokens, network.Config.ContextChannels[0]), rate: Rate.Request);
        g.Output("y", network.Record(g, x, t, new UNetConditions { Context = context }));
        return g;
    }

    private static Graph Stack(string folder)
    {
        const int Width = 320, Time = 1280, Context = 768, Heads = 8;
        var w = WeightScope.Of(Checkpoint.Open(folder), "unet").At("down_blocks.0");
        var g = new Graph();
        var x = g.Input("sample", new Shape(1, Latent, Latent, Width));
        var time = g.Input("time", new Shape(1, Time));
        var context = g.Input("context", new Shape(1, Tokens, Context), rate: Rate.Request);
        for (int i = 0; i < 2; i++)
        {
            x = new ResnetBlock(w.At($"resnets.{i}"), new ResnetOptions(Width, Width, 32, 32, 1e-5, Time)).Record(g, x, time);
            x = new SpatialTransformer(w.At($"attentions.{i}"), new SpatialTransformerOptions(Width, Context, Heads, Width / Heads, 1, 32)).Record(g, x, context);
        }

        g.Output("y", x);
        return g;
    }

    private static Graph Decoder(string folder)
    {
        var network = (AutoencoderKL)Open(folder);
        var g = new Graph();
        g.Output("y", network.Decode(g, g.Input("latent", new Shape(1, Latent, Latent, network.LatentChannels))));
        return g;
    }

    // Box and Muller's method on a plain counter's hash.
    private static void Normal(float[] values, int seed)
    {
        ulong state = (ulong)seed * 0x9E3779B97F4A7C15 + 1;
        for (int i = 0; i < values.Length; i++)
        {
            double u = 1 - Next(ref state), v = Next(ref state);
            values[i] = (float)(Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(2 * Math.PI * v));
        }
    }

    private static double Next(ref ulong state)
    {
        state += 0x9E3779B97F4A7C15;
        ulong z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return ((z ^ (z >> 31)) >> 11) * (1.0 / (1ul << 53));
    }
}

/// <summary>A network on our CPU device, prepared and with its inputs bound.</summary>
internal sealed class OurNetwork : IDisposable
{
    private readonly CpuDevice device;
    private readonly WeightStore weights;
    private readonly Executable executable;
    private readonly List<DeviceBuffer> buffers = [];
    private readonly Shape shape;

    public OurNetwork(Graph graph, Dictionary<string, float[]> inputs, int threads)
    {
        device = new CpuDevice(threads);
        weights = device.CreateWeightStore();
        Plan = device.Plan(graph);
        executable = device.Prepare(Plan, weights);
        foreach (var (name, values) in inputs)
        {
            var buffer = device.Allocate(values.Length * sizeof(float));
            device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), buffer);
            executable.Bind(name, buffer);
            buffers.Add(buffer);
        }

        shape = graph.Nodes[graph.Outputs[0].Id].Type.Shape;
    }

    public Plan Plan { get; }

    public long WeightBytes => weights.Bytes;

    /// <summary>One evaluation, with what follows from the text alone: the peer computes that each time too.</summary>
    public void Run()
    {
        executable.Run(Rate.Request);
        executable.Run(Rate.Step);
    }

    public float[] Result()
    {
        var y = new float[shape.Count];
        device.Download(executable.Output("y"), MemoryMarshal.AsBytes(y.AsSpan()));
        return y;
    }

    public void Dispose()
    {
        executable.Dispose();
        weights.Dispose();
        foreach (var buffer in buffers) buffer.Dispose();
        device.Dispose();
    }
}
