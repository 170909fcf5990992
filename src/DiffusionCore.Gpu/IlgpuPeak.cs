using System.Diagnostics;
using DiffusionCore.Kernels;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>Measures a device's roofs with kernels of its own; each is the best of a few runs.</summary>
internal static class IlgpuPeak
{
    private const int Repeats = 5;

    public static Peak Measure(IlgpuDevice device)
    {
        bool slow = device.Kind == DeviceKind.IlgpuCpu;
        int groups = slow ? 4 : Math.Max(16, device.Accelerator.NumMultiprocessors * 16), rounds = slow ? 16 : device.IsGpu ? 4096 : 512;
        int threads = groups * device.Threads;
        // Larger than any cache, smaller than a quarter of the memory; whole rounds of all threads.
        long wanted = slow ? 1 << 16 : Math.Min(1L << 28, Math.Max(1L << 20, device.MemoryBytes / 8));
        int each = (int)Math.Max(1, wanted / 16 / threads);
        long bytes = 16L * each * threads;
        using var x = device.AllocateMemory(bytes, "the memory to measure");
        using var y = device.AllocateMemory(bytes, "the memory to measure");
        var (first, step) = device.IsGpu ? (1, threads) : (each, 1);
        var kernels = device.Kernels;
        var multiplyAdd = device.IsGpu ? kernels.PeakMultiplyAdd : kernels.PeakMultiplyAddRun;
        double flops = 2.0 * (device.IsGpu ? Tiles.PeakSums : Tiles.PeakRun) * rounds;
        double all = Best(device, () => multiplyAdd((groups, device.Threads), y.As<float>(), rounds, 0.999f, 0.001f));
        double one = Best(device, () => multiplyAdd((1, device.Threads), y.As<float>(), rounds, 0.999f, 0.001f));
        double read = Best(device, () => kernels.PeakRead((groups, device.Threads), x.As<Float4>(), y.As<float>(), each, first, step));
        double copy = Best(device, () => kernels.PeakCopy((groups, device.Threads), x.As<Float4>(), y.As<Float4>(), each, first, step));
        return new Peak(flops * threads / all / 1e9, flops * device.Threads / one / 1e9, bytes / read / 1e9, 2.0 * bytes / copy / 1e9);
    }

    private static double Best(IlgpuDevice device, Action launch)
    {
        launch();
        device.Synchronize();
        double best = double.MaxValue;
        for (int r = 0; r < Repeats; r++)
        {
            long start = Stopwatch.GetTimestamp();
            launch();
            device.Synchronize();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }
}
