namespace DiffusionCore.Gpu;

/// <summary>What runs the kernels.</summary>
public enum DeviceKind
{
    Cuda,
    OpenCL,

    /// <summary>ILGPU's own CPU accelerator: checks kernels, a thousand times slower than the CPU device.</summary>
    IlgpuCpu,
}

/// <summary>A device that was found.</summary>
/// <param name="Name">What --device takes: cuda:0, opencl:0, ilgpu-cpu.</param>
/// <param name="IsGpu">False for a CPU behind OpenCL and for ilgpu-cpu.</param>
/// <param name="MemoryBytes">Memory of the device.</param>
public sealed record DeviceEntry(DeviceKind Kind, int Index, string Name, string Description, bool IsGpu, long MemoryBytes);
