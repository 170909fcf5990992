using DiffusionCore.Kernels;
using DiffusionCore.Runtime;
using ILGPU;
using ILGPU.Runtime;
using Device = DiffusionCore.Runtime.Device;

namespace DiffusionCore.Gpu;

/// <summary>A CUDA or OpenCL device, or ILGPU's CPU accelerator: one context and one accelerator, used from one thread at a time, which may change.</summary>
public sealed class IlgpuDevice : Device
{
    private const int Alignment = 64;

    private readonly Context context;
    private readonly DeviceEntry entry;
    private long allocated;
    private Peak? peak;
    private IlgpuSamplerStep? samplerStep;
    private bool disposed;

    internal IlgpuDevice(DeviceEntry entry)
    {
        this.entry = entry;
        context = DeviceContexts.Create(entry.Kind);
        try
        {
            Accelerator = context.Devices[entry.Index].CreateAccelerator(context);
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            context.Dispose();
            throw new DeviceException($"{entry.Name} ({entry.Description}) cannot be opened: {e.Message.ReplaceLineEndings(" ")}", e);
        }

        Threads = 1;
        while (Threads * 2 <= Math.Min(Tiles.Threads, Accelerator.MaxNumThreadsPerGroup)) Threads *= 2;
        Kernels = new KernelSet(this);
    }

    public override string Name => entry.Name;

    public override string Description => entry.Description;

    public DeviceKind Kind => entry.Kind;

    /// <summary>False for a CPU behind OpenCL and for ILGPU's CPU accelerator.</summary>
    public bool IsGpu => entry.IsGpu;

    public override long MemoryBytes => entry.MemoryBytes;

    /// <summary>Bytes allocated here and not freed.</summary>
    public long AllocatedBytes => Interlocked.Read(ref allocated);

    internal Accelerator Accelerator { get; }

    internal KernelSet Kernels { get; }

    /// <summary>Threads of a group.</summary>
    internal int Threads { get; }

    public override DeviceBuffer Allocate(long bytes) => AllocateMemory(bytes, "a buffer");

    public override void Upload(ReadOnlySpan<byte> src, DeviceBuffer dst)
    {
        var buffer = Own(dst);
        if (src.Length > buffer.Bytes) throw new ArgumentException($"{src.Length} bytes do not fit the buffer's {buffer.Bytes}", nameof(src));
        if (src.Length == 0) return;
        try
        {
            Accelerator.Bind();
            buffer.View.SubView(0, src.Length).CopyFromCPU(Accelerator.DefaultStream, src);
            Accelerator.DefaultStream.Synchronize();
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw IlgpuErrors.Wrap(this, $"upload of {src.Length:N0} bytes", e);
        }
    }

    public override void Download(DeviceBuffer src, Span<byte> dst)
    {
        var buffer = Own(src);
        if (dst.Length > buffer.Bytes) throw new ArgumentException($"{dst.Length} bytes are more than the buffer's {buffer.Bytes}", nameof(dst));
        if (dst.Length == 0) return;
        try
        {
            Accelerator.Bind();
            buffer.View.SubView(0, dst.Length).CopyToCPU(Accelerator.DefaultStream, dst);
            Accelerator.DefaultStream.Synchronize();
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw IlgpuErrors.Wrap(this, $"download of {dst.Length:N0} bytes", e);
        }
    }

    public override WeightStore CreateWeightStore() => new IlgpuWeightStore(this);

    public override IReadOnlyList<IImplementation> Implementations(Op op) => IlgpuImplementations.Of(op);

    public override Executable Prepare(Plan plan, WeightStore weights, long weightBytes) => new IlgpuExecutable(this, plan, (IlgpuWeightStore)weights);

    public override void RunSamplerStep(in SamplerStepArguments arguments) => (samplerStep ??= new IlgpuSamplerStep(this)).Run(arguments);

    public override Peak MeasurePeak() => peak ??= IlgpuPeak.Measure(this);

    public override void Dispose()
    {
        if (disposed) return;
        disposed = true;
        samplerStep?.Dispose();
        Accelerator.Dispose();
        context.Dispose();
    }

    public override void Synchronize()
    {
        try
        {
            Accelerator.Bind();
            Accelerator.DefaultStream.Synchronize();
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw IlgpuErrors.Wrap(this, "waiting for the device", e);
        }
    }

    internal IlgpuBuffer AllocateMemory(long bytes, string what)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        long whole = Math.Max(Alignment, (bytes + Alignment - 1) / Alignment * Alignment);
        if (whole > MemoryBytes - AllocatedBytes) throw OutOfMemory(what, bytes, null);
        try
        {
            Accelerator.Bind();
            var memory = Accelerator.Allocate1D<byte>(whole);
            Interlocked.Add(ref allocated, whole);
            memory.MemSetToZero();
            return new IlgpuBuffer(this, memory, bytes);
        }
        catch (Exception e) when (IlgpuErrors.IsOutOfMemory(e))
        {
            throw OutOfMemory(what, bytes, e);
        }
        catch (Exception e) when (IlgpuErrors.IsDevice(e))
        {
            throw IlgpuErrors.Wrap(this, $"allocation of {bytes:N0} bytes", e);
        }
    }

    internal void Released(long bytes) => Interlocked.Add(ref allocated, -bytes);

    internal MemoryException OutOfMemory(string what, long? bytes, Exception? inner) => new(
        $"{Name}: {what}{(bytes is { } n ? $" of {n / 1e6:F1} MB" : "")} does not fit: the device has {MemoryBytes / 1e6:F0} MB, {AllocatedBytes / 1e6:F1} MB are in use here; "
        + "use a smaller --batch or --size, or --device cpu", inner);

    /// <summary>One thread per item, in groups of <see cref="Threads"/>.</summary>
    internal KernelConfig PerItem(long items) => new(Tiles.Groups(items, Threads), Threads);

    /// <summary>One group per item.</summary>
    internal KernelConfig PerGroup(long items) => new(checked((int)items), Threads);

    internal IlgpuBuffer Own(DeviceBuffer buffer) =>
        buffer is IlgpuBuffer own && ReferenceEquals(own.Device, this) ? own : throw new ArgumentException($"the buffer is not of {Name}", nameof(buffer));
}
