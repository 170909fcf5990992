using System.Runtime.InteropServices;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>One operator at one shape on our kernels: what it computes, what it costs, its inputs and its result.</summary>
public abstract unsafe class OperatorCase(string group, string name) : IDisposable
{
    private readonly List<nint> blocks = [];

    /// <summary>Which table it belongs to.</summary>
    public string Group => group;

    /// <summary>The address of the shape: network, stage, extents.</summary>
    public string Name => name;

    /// <summary>Floating point operations by the operator's definition, whatever the kernel saves.</summary>
    public abstract double Flops { get; }

    /// <summary>Bytes that any kernel must move.</summary>
    public abstract double Bytes { get; }

    /// <summary>The largest ratio of our time to the peer's that is wanted; 0 where there is none.</summary>
    public double Target { get; init; }

    /// <summary>Which kernel runs.</summary>
    public virtual string Kernel => "";

    /// <summary>The operator, once.</summary>
    public abstract void Run();

    /// <summary>Fills inputs with random values; to be called before <see cref="Run"/>.</summary>
    public abstract void Prepare(WorkerPool pool);

    public void Dispose()
    {
        foreach (nint p in blocks) NativeMemory.AlignedFree((void*)p);
        blocks.Clear();
        GC.SuppressFinalize(this);
    }

    protected float* Floats(long n) => (float*)Allocate(n * sizeof(float));

    protected void* Allocate(long bytes)
    {
        void* p = NativeMemory.AlignedAlloc((nuint)Math.Max(64, bytes), 4096);
        NativeMemory.Clear(p, (nuint)bytes);
        blocks.Add((nint)p);
        return p;
    }

    protected float* Filled(long n, int seed, float scale = 1)
    {
        float* p = Floats(n);
        uint s = (uint)seed * 2654435761u + 12345;
        for (long i = 0; i < n; i++)
        {
            s = s * 1664525u + 1013904223u;
            p[i] = ((s >> 8) * (1f / 16777216f) - 0.5f) * 2 * scale;
        }

        return p;
    }

    /// <summary>The values in the type that weights are stored in.</summary>
    protected void* Stored(float* values, long n, WeightType type)
    {
        if (type == WeightType.F32) return values;
        ushort* h = (ushort*)Allocate(n * 2);
        for (long i = 0; i < n; i++) h[i] = type == WeightType.F16 ? BitConverter.HalfToUInt16Bits((Half)values[i]) : (ushort)(BitConverter.SingleToUInt32Bits(values[i]) >> 16);
        return h;
    }
}
