using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu.Tests;

/// <summary>One device of each kind for all tests; they are used from one thread at a time, so tests of devices share a collection.</summary>
[CollectionDefinition(Name)]
public sealed class Devices
{
    public const string Name = "devices";

    private static readonly Lazy<IlgpuDevice> Cpu = new(() => DeviceCatalog.Open(DeviceKind.IlgpuCpu, 0));
    private static readonly Lazy<IlgpuDevice> OpenCl = new(() => DeviceCatalog.Open(DeviceKind.OpenCL, 0));

    public static IlgpuDevice IlgpuCpu => Cpu.Value;

    public static IlgpuDevice OpenCL => OpenCl.Value;

    public static string? WhyNoOpenCL { get; } =
        DeviceCatalog.Devices.Any(d => d.Kind == DeviceKind.OpenCL) ? null : "no OpenCL device: install a driver, such as pocl-opencl-icd with ocl-icd-libopencl1";
}

/// <summary>A fact that needs an OpenCL device.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class OpenCLFactAttribute : FactAttribute
{
    public OpenCLFactAttribute()
    {
        Skip = Devices.WhyNoOpenCL;
    }
}

/// <summary>A theory that needs an OpenCL device.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class OpenCLTheoryAttribute : TheoryAttribute
{
    public OpenCLTheoryAttribute()
    {
        Skip = Devices.WhyNoOpenCL;
    }
}

/// <summary>A theory that needs an OpenCL device and the conformance data.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class OpenCLConformanceTheoryAttribute : TheoryAttribute
{
    public OpenCLConformanceTheoryAttribute()
    {
        Skip = Devices.WhyNoOpenCL ?? (DiffusionCore.Tests.ConformanceData.Folder is null ? DiffusionCore.Tests.ConformanceData.Reason : null);
    }
}
