namespace DiffusionCore.Runtime;

/// <summary>Weights in host memory: matrices and kernels packed in their stored type, vectors widened to F32, tables as they are.</summary>
public sealed unsafe class CpuWeightStore : WeightStore
{
    private readonly Dictionary<(IWeightSource, Form), CpuBuffer> held = [];
    private readonly Lock access = new();
    private long bytes;

    private enum Form
    {
        Packed,
        Float,
        Raw,
    }

    public override long Bytes => bytes;

    /// <summary>[outputs][inputs][taps] packed for the matrix kernels, in the stored type where they widen it, else in F32.</summary>
    internal CpuBuffer Packed(IWeightSource source, int outputs, int inputs, int taps) => Get(source, Form.Packed, () =>
    {
        var type = PackedType(source.Type.DType);
        var packed = new CpuBuffer(PackedWeights.Bytes(outputs, inputs, taps, type));
        using var raw = source.Type.DType is DType.F32 or DType.F16 or DType.BF16 ? ReadRaw(source) : ReadFloat(source);
        PackedWeights.Pack(raw.Pointer, type, outputs, inputs, taps, packed.Pointer);
        return packed;
    });

    internal CpuBuffer Float(IWeightSource source) => Get(source, Form.Float, () => ReadFloat(source));

    internal CpuBuffer Raw(IWeightSource source) => Get(source, Form.Raw, () => ReadRaw(source));

    internal static WeightType PackedType(DType type) => type switch
    {
        DType.F16 => WeightType.F16,
        DType.BF16 => WeightType.BF16,
        _ => WeightType.F32,
    };

    public override void Dispose()
    {
        foreach (var buffer in held.Values) buffer.Dispose();
        held.Clear();
        bytes = 0;
    }

    private static CpuBuffer ReadRaw(IWeightSource source)
    {
        var buffer = new CpuBuffer(source.Type.Bytes);
        source.Read(buffer.Span<byte>());
        return buffer;
    }

    private static CpuBuffer ReadFloat(IWeightSource source)
    {
        var buffer = new CpuBuffer(source.Type.Shape.Count * sizeof(float));
        var floats = buffer.Span<float>();
        if (source.Type.DType == DType.F32)
        {
            source.Read(buffer.Span<byte>());
            return buffer;
        }

        var raw = new byte[source.Type.Bytes];
        source.Read(raw);
        double[] exact = Interpreter.FromBytes(raw, source.Type.DType);
        for (int i = 0; i < floats.Length; i++) floats[i] = (float)exact[i];
        return buffer;
    }

    private CpuBuffer Get(IWeightSource source, Form form, Func<CpuBuffer> make)
    {
        lock (access)
        {
            if (held.TryGetValue((source, form), out var buffer)) return buffer;
            if (!source.Format.IsPlain) throw new DeviceException($"{source.Name}: {source.Format} are not supported on the CPU yet; use plain F32, F16 or BF16 weights");
            buffer = make();
            held[(source, form)] = buffer;
            bytes += buffer.Bytes;
            return buffer;
        }
    }
}
