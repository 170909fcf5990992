using System.Diagnostics;
using System.Runtime.InteropServices;

namespace DiffusionCore.Benchmarks;

/// <summary>Time of the calling thread: on a machine shared with other work it counts only what this thread ran.</summary>
public static unsafe partial class Stopclock
{
    private const int ThreadCpuTime = 3;

    /// <summary>Milliseconds that this thread ran; wall-clock time where the system does not tell.</summary>
    public static double ThreadMilliseconds()
    {
        if (OperatingSystem.IsLinux())
        {
            long* time = stackalloc long[2];
            if (clock_gettime(ThreadCpuTime, time) == 0) return time[0] * 1e3 + time[1] * 1e-6;
        }

        return Stopwatch.GetTimestamp() * 1e3 / Stopwatch.Frequency;
    }

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, long* time);
}
