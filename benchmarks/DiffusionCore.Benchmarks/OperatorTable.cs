using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>Every operator's time beside the roofs.</summary>
internal static class OperatorTable
{
    public static void Run(WorkerPool pool, string filter)
    {
        double peak = pool.Count == 1 ? PeakMeter.FmaGflopsPerCore() : PeakMeter.FmaGflops(pool);
        Console.WriteLine($"{pool.Isa}, {pool.Count} threads, measured peak {peak:F1} GFLOP/s");
        Console.WriteLine($"{"operator",-34} {"kernel",-12} {"ms",9} {"GFLOP/s",9} {"of peak",8} {"GB/s",7}");
        foreach (var one in Cases.All())
        {
            if (!$"{one.Group} {one.Name}".Contains(filter, StringComparison.OrdinalIgnoreCase)) continue;
            one.Prepare(pool);
            double ms = Timing.Median(one.Run, pool.Count);
            Console.WriteLine($"{one.Group + " " + one.Name,-34} {one.Kernel,-12} {ms,9:F3} {one.Flops / ms / 1e6,9:F1} {one.Flops / ms / 1e4 / peak,7:F0}% {one.Bytes / ms / 1e6,7:F1}");
            one.Dispose();
        }
    }
}
