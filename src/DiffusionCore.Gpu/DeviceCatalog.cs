using DiffusionCore.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace DiffusionCore.Gpu;

/// <summary>The devices of this machine beside the CPU, and which of them a name means.</summary>
public static class DeviceCatalog
{
    private static readonly Lazy<IReadOnlyList<DeviceEntry>> Found = new(Find);

    /// <summary>CUDA devices, OpenCL devices, then ilgpu-cpu; found once per process.</summary>
    public static IReadOnlyList<DeviceEntry> Devices => Found.Value;

    /// <summary>The best GPU: CUDA before OpenCL; null where there is none.</summary>
    public static DeviceEntry? BestGpu => !NativeLibraries.HasCuda && !NativeLibraries.HasOpenCL ? null : Devices.FirstOrDefault(d => d.IsGpu);

    /// <summary>Why there is no GPU, in words for a person.</summary>
    public static string WhyNoGpu =>
        !NativeLibraries.HasCuda && !NativeLibraries.HasOpenCL ? "neither a CUDA driver nor an OpenCL loader is installed"
        : Devices.Any(d => d.Kind == DeviceKind.OpenCL) ? "no CUDA device, and OpenCL offers only a CPU"
        : "no CUDA device and no OpenCL device that can run the kernels";

    /// <summary>Opens a device by kind and number.</summary>
    /// <exception cref="DeviceException">It is not there; says what is.</exception>
    public static IlgpuDevice Open(DeviceKind kind, int index)
    {
        foreach (var device in Devices)
            if (device.Kind == kind && device.Index == index) return new IlgpuDevice(device);
        string asked = NameOf(kind, index);
        string found = Devices.Count(d => d.Kind != DeviceKind.IlgpuCpu) == 0 ? "none was found" : $"found {string.Join(", ", Devices.Where(d => d.Kind != DeviceKind.IlgpuCpu).Select(d => $"{d.Name} ({d.Description})"))}";
        string advice = kind switch
        {
            DeviceKind.Cuda when !NativeLibraries.HasCuda => "libcuda.so.1 is missing: install NVIDIA's driver, or use --device cpu",
            DeviceKind.OpenCL when !NativeLibraries.HasOpenCL => "libOpenCL.so.1 is missing: install an OpenCL loader and the vendor's driver, or use --device cpu",
            _ => "dcore devices lists what there is; --device cpu always works",
        };
        throw new DeviceException($"{asked}: there is no such device; {found}; {advice}");
    }

    internal static string NameOf(DeviceKind kind, int index) => kind switch
    {
        DeviceKind.Cuda => $"cuda:{index}",
        DeviceKind.OpenCL => $"opencl:{index}",
        _ => "ilgpu-cpu",
    };

    private static List<DeviceEntry> Find()
    {
        var entries = new List<DeviceEntry>();
        if (NativeLibraries.HasCuda)
        {
            using var context = DeviceContexts.Create(DeviceKind.Cuda);
            int index = 0;
            foreach (var device in context.GetCudaDevices())
                entries.Add(new DeviceEntry(DeviceKind.Cuda, index, NameOf(DeviceKind.Cuda, index++), $"{device.Name.Trim()}, {device.Architecture?.ToString() ?? "unknown architecture"}, {device.MemorySize / 1e9:F1} GB", true, device.MemorySize));
        }

        if (NativeLibraries.HasOpenCL)
        {
            using var context = DeviceContexts.Create(DeviceKind.OpenCL);
            int index = 0;
            foreach (var device in context.GetCLDevices())
            {
                bool gpu = (device.DeviceType & CLDeviceType.CL_DEVICE_TYPE_GPU) != 0;
                entries.Add(new DeviceEntry(DeviceKind.OpenCL, index, NameOf(DeviceKind.OpenCL, index++), $"{device.Name.Trim()} ({device.PlatformName}, {(gpu ? "GPU" : "CPU")}), {device.MemorySize / 1e9:F1} GB", gpu, device.MemorySize));
            }
        }

        entries.Add(new DeviceEntry(DeviceKind.IlgpuCpu, 0, NameOf(DeviceKind.IlgpuCpu, 0), "ILGPU's CPU accelerator, for checking kernels: very slow", false, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes));
        return entries;
    }
}
