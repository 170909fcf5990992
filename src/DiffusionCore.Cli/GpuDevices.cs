using DiffusionCore.Runtime;
#if GPU_DEVICES
using DiffusionCore.Gpu;
#endif

namespace DiffusionCore.Cli;

/// <summary>A device beside the CPU: what it is, and how it is opened.</summary>
internal sealed record GpuDeviceEntry(string Name, string Description, bool IsGpu, long MemoryBytes, Func<Device> Open);

/// <summary>
/// The one place that knows whether GPU devices are in this build. They are compiled at run time, which a native binary cannot do, so the project
/// leaves them out there (the GpuDevices property).
/// </summary>
internal static class GpuDevices
{
#if GPU_DEVICES
    public static bool Included => true;

    /// <summary>Why there is no GPU to choose.</summary>
    public static string WhyNone => DeviceCatalog.WhyNoGpu;

    public static IEnumerable<GpuDeviceEntry> All => DeviceCatalog.Devices.Select(Entry);

    /// <summary>CUDA before OpenCL; null where there is no GPU.</summary>
    public static GpuDeviceEntry? Best => DeviceCatalog.BestGpu is { } best ? Entry(best) : null;

    /// <exception cref="DeviceException">It is not there.</exception>
    public static Device Open(string kind, int index) => DeviceCatalog.Open(
        kind switch { "cuda" => DeviceKind.Cuda, "opencl" => DeviceKind.OpenCL, _ => DeviceKind.IlgpuCpu }, index);

    private static GpuDeviceEntry Entry(DeviceEntry d) => new(d.Name, d.Description, d.IsGpu, d.MemoryBytes, () => DeviceCatalog.Open(d.Kind, d.Index));
#else
    public static bool Included => false;

    public static string WhyNone => "GPU devices are left out of this build";

    public static IEnumerable<GpuDeviceEntry> All => [];

    public static GpuDeviceEntry? Best => null;

    public static Device Open(string kind, int index) =>
        throw new DeviceException($"--device {kind}: GPU devices are left out of this build; use --device cpu, or a build that is not native");
#endif
}
