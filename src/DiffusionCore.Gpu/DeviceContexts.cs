using System.Reflection;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace DiffusionCore.Gpu;

/// <summary>ILGPU contexts with the devices of one kind.</summary>
internal static class DeviceContexts
{
    private const string Pocl = "Portable Computing Language";

    public static Context Create(DeviceKind kind)
    {
        NativeLibraries.Register();
        return Context.Create(builder =>
        {
            builder.EnableAlgorithms().Optimize(OptimizationLevel.O2).Math(MathMode.Default);
            if (kind == DeviceKind.Cuda) builder.Cuda();
            else if (kind == DeviceKind.OpenCL) builder.OpenCL(Accepts);
            else builder.CPU(CPUDeviceKind.Default);
        });
    }

    // ILGPU's own condition: OpenCL 2.0 and the generic address space. PoCL 3.1 runs what ILGPU makes of these kernels, but reports neither as ILGPU
    // wants it, so both are set for PoCL, by reflection because the setters are not public.
    private static bool Accepts(CLDevice device)
    {
        if (device.PlatformName == Pocl && !device.Capabilities.GenericAddressSpace)
        {
            Set(device.Capabilities, nameof(CLCapabilityContext.GenericAddressSpace), true);
            Set(device, nameof(CLDevice.DeviceVersion), CLDeviceVersion.CL20);
        }

        return device.DeviceVersion >= CLDeviceVersion.CL20 && device.Capabilities.GenericAddressSpace;
    }

    private static void Set(object target, string property, object value)
    {
        for (var type = target.GetType(); type is not null; type = type.BaseType)
        {
            if (type.GetProperty(property, BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly)?.GetSetMethod(true) is not { } setter) continue;
            setter.Invoke(target, [value]);
            return;
        }
    }
}
