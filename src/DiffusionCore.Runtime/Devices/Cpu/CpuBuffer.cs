using System.Runtime.InteropServices;

namespace DiffusionCore.Runtime;

/// <summary>Host memory aligned to a cache line.</summary>
public sealed unsafe class CpuBuffer : DeviceBuffer
{
    private readonly bool owned;
    private byte* pointer;

    internal CpuBuffer(long bytes)
        : this(bytes, clear: true)
    {
    }

    private CpuBuffer(long bytes, bool clear)
    {
        Bytes = bytes;
        owned = true;
        try
        {
            pointer = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), 64);
        }
        catch (OutOfMemoryException e)
        {
            throw new MemoryException($"{bytes:N0} bytes of host memory could not be allocated", e);
        }

        if (clear) NativeMemory.Clear(pointer, (nuint)bytes);
        GC.AddMemoryPressure(Math.Max(bytes, 1));
    }

    internal CpuBuffer(byte* borrowed, long bytes)
    {
        pointer = borrowed;
        Bytes = bytes;
        GC.SuppressFinalize(this);
    }

    /// <summary>Memory whose content is not known: for what is written whole before it is read.</summary>
    internal static CpuBuffer Uninitialized(long bytes) => new(bytes, clear: false);

    ~CpuBuffer() => Free();

    public override long Bytes { get; }

    public byte* Pointer => pointer != null ? pointer : throw new ObjectDisposedException(nameof(CpuBuffer));

    public float* Floats => (float*)Pointer;

    /// <summary>The memory as elements.</summary>
    public Span<T> Span<T>()
        where T : unmanaged => new(Pointer, checked((int)(Bytes / sizeof(T))));

    public override void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (pointer == null || !owned) return;
        NativeMemory.AlignedFree(pointer);
        pointer = null;
        GC.RemoveMemoryPressure(Math.Max(Bytes, 1));
    }
}
