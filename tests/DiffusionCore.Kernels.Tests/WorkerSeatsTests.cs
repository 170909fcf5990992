using System.Runtime.InteropServices;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Kernels.Tests;

public unsafe partial class WorkerSeatsTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(1000)]
    public void A_pool_that_cannot_spread_has_no_seats(int threads) => Assert.Null(WorkerSeats.Of(threads));

    /// <summary>A worker forced onto its caller's processor leaves it by itself.</summary>
    [Fact]
    public void A_worker_leaves_the_processor_of_a_lower_one() => Together((seats, _) => seats.Settle(1));

    /// <summary>A worker that does not run is sent away by the caller.</summary>
    [Fact]
    public void The_caller_sends_a_worker_away() => Together((seats, caller) =>
    {
        caller();
        Thread.Sleep(1);
    });

    // A caller pinned to one processor, a worker forced onto the same, then the step, on the worker's thread: it must be elsewhere afterwards.
    private static void Together(Action<WorkerSeats, Action> step)
    {
        if (!OperatingSystem.IsLinux() || Environment.ProcessorCount < 2) return;
        var seats = WorkerSeats.Of(2);
        Assert.NotNull(seats);
        int callers = -1, workers = -1;
        bool over = false;
        using var ask = new SemaphoreSlim(0);
        using var answered = new SemaphoreSlim(0);
        var caller = new Thread(() =>
        {
            seats.Register(0);
            callers = sched_getcpu();
            Pin(callers);
            do
            {
                seats.Settle(0);
                answered.Release();
                ask.Wait();
            }
            while (!over);
        });
        var worker = new Thread(() =>
        {
            seats.Register(1);
            answered.Wait();
            Pin(callers);
            step(seats, () =>
            {
                seats.Note(1);
                ask.Release();
                answered.Wait();
            });
            workers = sched_getcpu();
            over = true;
            ask.Release();
        });
        caller.Start();
        worker.Start();
        worker.Join();
        caller.Join();
        Assert.NotEqual(callers, workers);
    }

    private static void Pin(int processor)
    {
        ulong* mask = stackalloc ulong[16];
        new Span<ulong>(mask, 16).Clear();
        mask[processor / 64] = 1UL << (processor % 64);
        Assert.Equal(0, sched_setaffinity(0, 128, mask));
    }

    [LibraryImport("libc")]
    private static partial int sched_getcpu();

    [LibraryImport("libc")]
    private static partial int sched_setaffinity(int thread, nuint bytes, ulong* mask);
}
