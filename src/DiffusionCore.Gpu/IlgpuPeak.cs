using System.Diagnostics;
using DiffusionCore.Kernels;
using DiffusionCore.Runtime;

namespace DiffusionCore.Gpu;

/// <summary>Measures a device's roofs with kernels of its own; each is the best of a few runs.</summary>
internal static class IlgpuPeak
{
    private const int Repeats = 5;
    private const double FlopsPerRound = 2.0 * Tiles.PeakSums;

    public static Peak Measure(IlgpuDevice device)
    {
        bool slow = device.Kind == DeviceKind.IlgpuCpu;
        int groups = slow ? 4 : Math.Max(16, device.Accelerator.NumMultiprocessors * 16), rounds = slow ? 64 : 4096;
        long threads = (long)groups * device.Threads;
        // Larger than any cache, smaller than a quarter of the memory.
        long bytes = slow ? 1 << 16 : Math.Min(1L << 28, Math.Max(1L << 20, device.MemoryBytes / 8)) / 64 * 64;
        using var x = device.AllocateMemory(bytes, "the memory to measure");
        using var y = device.AllocateMemory(Math.Max(bytes, threads * sizeof(float)), "the memory to measure");
        int quads = (int)(bytes / 16);
        var kernels = device.Kernels;
        double all = Best(device, () => kernels.PeakMultiplyAdd((groups, device.Threads), y.As<float>(), rounds, 0.999f, 0.001f));
        double one = Best(device, () => kernels.PeakMultiplyAdd((1, device.Threads), y.As<float>(), rounds, 0.999f, 0.001f));
        double read = Best(device, () => kernels.PeakRead((groups, device.Threads), x.As<Float4>(), y.As<float>(), quads));
        double copy = Best(device, () => kernels.PeakCopy((groups, device.Threads), x.As<Float4>(), y.As<Float4>(), quads));
        return new Peak(FlopsPerRound * rounds * threads / all / 1e9, FlopsPerRound * rounds * device.Threads / one / 1e9, bytes / read / 1e9, 2.0 * bytes / copy / 1e9);
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
