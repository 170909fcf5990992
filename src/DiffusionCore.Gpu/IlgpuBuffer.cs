using DiffusionCore.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>Memory of an ILGPU device, or a part of it.</summary>
internal sealed class IlgpuBuffer : DeviceBuffer
{
    private readonly IlgpuDevice device;
    private MemoryBuffer1D<byte, Stride1D.Dense>? owned;

    /// <param name="owned">The whole memory, freed with this object.</param>
    /// <param name="bytes">Bytes in use; the memory may be longer.</param>
    internal IlgpuBuffer(IlgpuDevice device, MemoryBuffer1D<byte, Stride1D.Dense> owned, long bytes)
    {
        this.device = device;
        this.owned = owned;
        View = owned.View;
        Bytes = bytes;
    }

    internal IlgpuBuffer(IlgpuDevice device, ArrayView<byte> borrowed)
    {
        this.device = device;
        View = borrowed;
        Bytes = borrowed.Length;
    }

    public override long Bytes { get; }

    /// <summary>At least <see cref="Bytes"/> long.</summary>
    internal ArrayView<byte> View { get; }

    internal IlgpuDevice Device => device;

    internal ArrayView<T> As<T>()
        where T : unmanaged => View.Cast<T>();

    public override void Dispose()
    {
        if (owned is null) return;
        device.Released(owned.LengthInBytes);
        owned.Dispose();
        owned = null;
    }
}
