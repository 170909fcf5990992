using DiffusionCore.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace DiffusionCore.Gpu;

/// <summary>Errors of drivers and of the kernel compiler, as the engine's own.</summary>
internal static class IlgpuErrors
{
    public static bool IsOutOfMemory(Exception e) => e switch
    {
        // Its text is the driver's own ("out of memory") or the name of the code.
        CudaException cuda => cuda.Error.Replace('_', ' ').Contains("out of memory", StringComparison.OrdinalIgnoreCase),
        CLException cl => cl.Error is CLError.CL_MEM_OBJECT_ALLOCATION_FAILURE or CLError.CL_OUT_OF_HOST_MEMORY or CLError.CL_OUT_OF_RESOURCES or CLError.CL_INVALID_BUFFER_SIZE,
        OutOfMemoryException => true,
        _ => false,
    };

    /// <summary>Whether an exception comes from ILGPU or a driver.</summary>
    public static bool IsDevice(Exception e) =>
        e is ILGPU.Runtime.AcceleratorException or ILGPU.InternalCompilerException or NotSupportedException or OutOfMemoryException;

    public static DiffusionCoreException Wrap(IlgpuDevice device, string doing, Exception e)
    {
        if (IsOutOfMemory(e)) return device.OutOfMemory(doing, null, e);
        var inner = e;
        while (inner.InnerException is { } next) inner = next;
        return new DeviceException($"{device.Name} ({device.Description}): {doing}: {inner.Message.ReplaceLineEndings(" ")}", e);
    }
}
