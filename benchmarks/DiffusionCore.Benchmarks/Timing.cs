using System.Diagnostics;
using System.Runtime.InteropServices;

namespace DiffusionCore.Benchmarks;

/// <summary>Times an action: by processor time of the calling thread where it is the only one, else by the clock.</summary>
public static unsafe partial class Timing
{
    private const int ThreadCpuTime = 3;
    private const double Budget = 300;
    private const int Fewest = 5;

    /// <summary>Median milliseconds.</summary>
    public static double Median(Action action, int threads)
    {
        action();
        var times = new List<double>();
        double total = 0;
        while (total < Budget || times.Count < Fewest)
        {
            times.Add(Once(action, threads));
            total += times[^1];
        }

        return Median(times);
    }

    public static double Median(IReadOnlyCollection<double> values) => values.Order().ElementAt(values.Count / 2);

    public static double Once(Action action, int threads)
    {
        double start = Now(threads);
        action();
        return Now(threads) - start;
    }

    /// <summary>Milliseconds of the clock that suits the number of threads.</summary>
    public static double Now(int threads)
    {
        if (threads == 1 && OperatingSystem.IsLinux())
        {
            long* time = stackalloc long[2];
            if (clock_gettime(ThreadCpuTime, time) == 0) return time[0] * 1e3 + time[1] * 1e-6;
        }

        return Stopwatch.GetTimestamp() * 1e3 / Stopwatch.Frequency;
    }

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, long* time);
}
