using System.Runtime.InteropServices;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>
/// The latents of a run on a device, in F32, or in F64 with a copy in F32 that the network reads. What goes in and out is F32 on the host: noise is drawn
/// so, and images are made from it. After the first use nothing is allocated.
/// </summary>
internal sealed class LatentMemory : IDisposable
{
    private readonly Device device;
    private readonly double[]? wide;
    private readonly float[] single;

    /// <exception cref="UsageException">The device has no F64 state.</exception>
    public LatentMemory(Device device, DType type, int count)
    {
        if (type is not (DType.F32 or DType.F64)) throw new UsageException($"state: expected f32 or f64, found {type.ToString().ToLowerInvariant()}");
        if (type == DType.F64 && device is not CpuDevice) throw new UsageException($"state: {device.Name} keeps latents in f32; use f32, or the device cpu");
        this.device = device;
        single = new float[count];
        Latents = device.Allocate((long)count * type.Size());
        if (type != DType.F64) return;
        wide = new double[count];
        Single = device.Allocate((long)count * sizeof(float));
    }

    public DeviceBuffer Latents { get; }

    /// <summary>The latents in F32 as the network reads them, beside an F64 state; null where the state itself is F32.</summary>
    public DeviceBuffer? Single { get; }

    /// <summary>alpha*image + sigma*noise, or sigma*noise without an image.</summary>
    public void Begin(ReadOnlySpan<float> noise, float[]? image, double alpha, double sigma)
    {
        for (int i = 0; i < noise.Length; i++)
        {
            double v = image is null ? sigma * noise[i] : alpha * image[i] + sigma * noise[i];
            single[i] = (float)v;
            if (wide is not null) wide[i] = v;
        }

        Put();
    }

    /// <summary>Numbers of the host in the state's type.</summary>
    public void Upload(ReadOnlySpan<float> values, DeviceBuffer destination)
    {
        if (wide is null)
        {
            device.Upload(MemoryMarshal.AsBytes(values), destination);
            return;
        }

        for (int i = 0; i < values.Length; i++) wide[i] = values[i];
        device.Upload(MemoryMarshal.AsBytes(wide.AsSpan()), destination);
    }

    /// <summary>Puts back what inpainting by blending keeps.</summary>
    public void Change(Inpainting inpainting, double alpha, double sigma)
    {
        if (wide is null)
        {
            device.Download(Latents, MemoryMarshal.AsBytes(single.AsSpan()));
            for (int i = 0; i < single.Length; i++) single[i] = (float)inpainting.Restored(i, single[i], alpha, sigma);
        }
        else
        {
            device.Download(Latents, MemoryMarshal.AsBytes(wide.AsSpan()));
            for (int i = 0; i < wide.Length; i++)
            {
                wide[i] = inpainting.Restored(i, wide[i], alpha, sigma);
                single[i] = (float)wide[i];
            }
        }

        Put();
    }

    public void Download(Span<float> destination) => device.Download(Single ?? Latents, MemoryMarshal.AsBytes(destination));

    public void Dispose()
    {
        Latents.Dispose();
        Single?.Dispose();
    }

    private void Put()
    {
        if (wide is not null) device.Upload(MemoryMarshal.AsBytes(wide.AsSpan()), Latents);
        device.Upload(MemoryMarshal.AsBytes(single.AsSpan()), Single ?? Latents);
    }
}

/// <summary>What inpainting by blending keeps: the image's latents, the mask, and the noise that the run began with.</summary>
internal sealed class Inpainting(float[] latents, float[] mask, float[] noise, int channels)
{
    /// <summary>Number i of the latents after a step, at the noise of the one that follows.</summary>
    public double Restored(int i, double made, double alpha, double sigma)
    {
        double m = mask[i / channels];
        return m * made + (1 - m) * (alpha * latents[i] + sigma * noise[i]);
    }
}
