using System.Reflection;
using System.Runtime.InteropServices;
using ILGPU;

namespace DiffusionCore.Gpu;

/// <summary>
/// ILGPU asks for "OpenCL" and "cuda"; on Linux the loader's names end in .so.1, the bare ones come with development packages only, and where they
/// are absent ILGPU finds no device and says nothing.
/// </summary>
internal static class NativeLibraries
{
    private static readonly (string Asked, string Linux)[] Names = [("OpenCL", "libOpenCL.so.1"), ("cuda", "libcuda.so.1")];
    private static readonly Lock Access = new();
    private static bool registered;

    /// <summary>Whether the driver's library is on this machine.</summary>
    public static bool HasCuda => NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvcuda" : "libcuda.so.1", out _);

    public static bool HasOpenCL => NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "OpenCL" : "libOpenCL.so.1", out _);

    /// <summary>Must run before the first context is made.</summary>
    public static void Register()
    {
        lock (Access)
        {
            if (registered || !OperatingSystem.IsLinux()) return;
            NativeLibrary.SetDllImportResolver(typeof(Context).Assembly, Resolve);
            registered = true;
        }
    }

    private static IntPtr Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        foreach (var (asked, linux) in Names)
            if (name == asked && NativeLibrary.TryLoad(linux, out var handle)) return handle;
        return IntPtr.Zero;
    }
}
