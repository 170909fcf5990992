using System.Runtime.InteropServices;
using DiffusionCore.Kernels;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>
/// Weights on a device, all widened to F32 when uploaded: vectors and tables in the order of their file, matrices and convolution kernels as
/// [tap][input][output], outputs padded with zeros to whole tiles.
/// </summary>
public sealed class IlgpuWeightStore : WeightStore
{
    private readonly Dictionary<(IWeightSource Source, bool Packed), IlgpuBuffer> held = [];
    private readonly IlgpuDevice device;
    private readonly Lock access = new();
    private long bytes;

    internal IlgpuWeightStore(IlgpuDevice device)
    {
        this.device = device;
    }

    public override long Bytes => bytes;

    /// <summary>[outputs][inputs][taps] of the file as [tap][input][padded outputs].</summary>
    internal IlgpuBuffer Packed(IWeightSource source, int outputs, int inputs, int taps) => Get(source, true, () =>
    {
        float[] raw = Read(source);
        long columns = Tiles.PackedColumns(outputs);
        var packed = new float[checked(taps * inputs * columns)];
        for (int o = 0; o < outputs; o++)
            for (int c = 0; c < inputs; c++)
                for (int t = 0; t < taps; t++) packed[((long)t * inputs + c) * columns + o] = raw[((long)o * inputs + c) * taps + t];
        return packed;
    });

    internal IlgpuBuffer Float(IWeightSource source) => Get(source, false, () => Read(source));

    public override void Dispose()
    {
        foreach (var buffer in held.Values) buffer.Dispose();
        held.Clear();
        bytes = 0;
    }

    private static float[] Read(IWeightSource source)
    {
        var values = new float[source.Type.Shape.Count];
        if (source.Type.DType == DType.F32)
        {
            source.Read(MemoryMarshal.AsBytes(values.AsSpan()));
            return values;
        }

        var raw = new byte[source.Type.Bytes];
        source.Read(raw);
        switch (source.Type.DType)
        {
            case DType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(raw);
                for (int i = 0; i < values.Length; i++) values[i] = (float)halves[i];
                break;
            case DType.BF16:
                var tops = MemoryMarshal.Cast<byte, ushort>(raw);
                for (int i = 0; i < values.Length; i++) values[i] = BitConverter.UInt32BitsToSingle((uint)tops[i] << 16);
                break;
            default:
                double[] exact = Interpreter.FromBytes(raw, source.Type.DType);
                for (int i = 0; i < values.Length; i++) values[i] = (float)exact[i];
                break;
        }

        return values;
    }

    private IlgpuBuffer Get(IWeightSource source, bool packed, Func<float[]> make)
    {
        lock (access)
        {
            if (held.TryGetValue((source, packed), out var buffer)) return buffer;
            if (!source.Format.IsPlain) throw new DeviceException($"{source.Name}: {source.Format} are not supported on {device.Name} yet; use plain F32, F16 or BF16 weights");
            float[] values = make();
            buffer = device.AllocateMemory((long)values.Length * sizeof(float), $"weight {source.Name}");
            device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), buffer);
            held[(source, packed)] = buffer;
            bytes += buffer.Bytes;
            return buffer;
        }
    }
}
