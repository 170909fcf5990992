using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>A denoiser as a function of numbers, for integrators that run on the host: (x, time) to the network's output, both channels last.</summary>
public sealed class NetworkFunction : IDisposable
{
    private readonly Device device;
    private readonly WeightStore weights;
    private readonly Executable executable;
    private readonly DeviceBuffer sample, time;
    private readonly DeviceBuffer? labels;
    private readonly float[] staged, told = new float[1], result;

    /// <param name="shape">Unguided.</param>
    /// <param name="classes">One per image; null where the network takes none.</param>
    /// <exception cref="ModelFileException">The network needs a condition other than a class.</exception>
    public NetworkFunction(Device device, IDenoiser denoiser, SessionShape shape, int[]? classes = null)
    {
        this.device = device;
        var g = new Graph();
        var x = g.Input("sample", new Shape(shape.Images, shape.Height, shape.Width, denoiser.Channels));
        g.Output("prediction", denoiser.Record(g, x, g.Input("timestep", new Shape(1)), shape));
        weights = device.CreateWeightStore();
        executable = device.Prepare(device.Plan(g), weights);
        staged = new float[x.Shape.Count];
        result = new float[shape.Images * shape.Height * shape.Width * denoiser.OutputChannels];
        sample = device.Allocate(staged.Length * sizeof(float));
        time = device.Allocate(sizeof(float));
        executable.Bind("sample", sample);
        executable.Bind("timestep", time);
        if (!g.Inputs.ContainsKey(ClassDenoiser.ClassLabels)) return;
        long[] ids = [.. (classes ?? new int[shape.Images]).Select(c => (long)c)];
        labels = device.Allocate(ids.Length * sizeof(long));
        device.Upload(MemoryMarshal.AsBytes(ids.AsSpan()), labels);
        executable.Bind(ClassDenoiser.ClassLabels, labels);
        executable.Run(Rate.Request);
    }

    /// <param name="x">[image][row][column][channel].</param>
    public double[] Evaluate(double[] x, double t)
    {
        for (int i = 0; i < staged.Length; i++) staged[i] = (float)x[i];
        told[0] = (float)t;
        device.Upload(MemoryMarshal.AsBytes(staged.AsSpan()), sample);
        device.Upload(MemoryMarshal.AsBytes(told.AsSpan()), time);
        executable.Run(Rate.Step);
        device.Download(executable.Output("prediction"), MemoryMarshal.AsBytes(result.AsSpan()));
        return Array.ConvertAll(result, v => (double)v);
    }

    public void Dispose()
    {
        executable.Dispose();
        sample.Dispose();
        time.Dispose();
        labels?.Dispose();
        weights.Dispose();
    }
}
