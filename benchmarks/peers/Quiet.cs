// A turn begins when nothing of the other side runs any more.
//
// ONNX Runtime's workers spin for about 15 ms after a run (2^20 pauses) before they sleep, and nothing but turning its spinning off, which would slow its
// own turns, shortens that. With the 5 ms that turns used to wait, one of our two threads shared its core with such a spinner for the first 10 ms: gemm
// 1024x640x640 took 7.6 ms instead of 3.9, everything below 10 ms looked as if it ran on one core. So we wait until the process uses no processor time.
namespace DiffusionCore.Peers;

/// <summary>Waits for the threads of this process to park.</summary>
internal static class Quiet
{
    private const int Interval = 5;
    private const double LargestShare = 0.1;
    private const int MostIntervals = 100;

    /// <summary>Returns when an interval passes in which the process used less than a tenth of one core; after half a second in any case.</summary>
    public static void Wait()
    {
        for (int i = 0; i < MostIntervals; i++)
        {
            var before = Environment.CpuUsage.TotalTime;
            Thread.Sleep(Interval);
            if ((Environment.CpuUsage.TotalTime - before).TotalMilliseconds < LargestShare * Interval) return;
        }
    }
}
