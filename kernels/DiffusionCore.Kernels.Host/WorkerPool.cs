// The engine's own workers: fork/join in well under a microsecond while they spin, parked when idle.
//
// Work is a function pointer and a context, not a delegate: nothing is allocated per call. Items are handed out by one
// shared counter, so a slow core takes fewer of them. Which worker runs an item never changes the result.
//
// A call ends when its items are done, not when every worker has looked: one that is parked, or waits for its core behind another process, is not
// waited for unless it holds an item. Such a worker may look at any time later, so the counter carries the number of its call: taking an item is one
// compare-and-swap that fails once the call is over, and a new call closes the counter before it writes its own fields.
//
// Whoever waits yields every 100 spins: where another process keeps a core busy, both threads may share the other one, and a spinning waiter
// would hold it until its time slice ends. Bundled model, 8 images, 20 guided steps, one of two cores kept busy (Zen 4, 2026-11-24):
// yield after 100,000 spins 7.3 s, after 2,000 4.3 s, every 100 on both sides 2.9 s; both cores free 1.5 s.
using System.Runtime.Intrinsics.X86;

namespace DiffusionCore.Kernels.Host;

/// <summary>A fixed set of worker threads; the calling thread is one of them. One call at a time.</summary>
public sealed unsafe class WorkerPool : IDisposable
{
    private const int SpinsBeforeParking = 20_000;      // about 0.5 ms: longer than the gap between two kernels of a step
    private const int SpinsBeforeYielding = 100;         // a few microseconds: whoever shares this core must not wait for the time slice to end

    private const int Closed = int.MaxValue;

    private readonly Thread[] threads;
    private readonly WorkerSeats? seats;
    private readonly Lock callers = new();
    private readonly object parking = new();
    private delegate*<void*, int, int, void> work;
    private void* context;
    private int items;
    private long ticket = Closed;    // number of the call in the upper half, next item in the lower
    private int done;
    private int parked;
    private volatile int epoch;
    private volatile bool stopping;

    /// <param name="count">Threads in all, the caller included; at least 1.</param>
    /// <param name="isa">The path that element-wise and reducing kernels take on this pool; a narrower one than the machine's is for checks.</param>
    public WorkerPool(int count, Isa? isa = null)
    {
        Isa = isa ?? HostIsa.Active;
        if (Isa > HostIsa.Active) throw new PlatformNotSupportedException($"{Isa} kernels were asked for, this machine and build allow {HostIsa.Active}");
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 1024);
        seats = WorkerSeats.Of(count);
        threads = new Thread[count - 1];
        for (int i = 0; i < threads.Length; i++)
        {
            int worker = i + 1;
            threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"dcore worker {worker}" };
            threads[i].Start();
        }
    }

    /// <summary>The instruction-set path of kernels run on this pool; <see cref="HostIsa.Active"/> unless narrowed.</summary>
    public Isa Isa { get; }

    /// <summary>Threads that work, the caller included.</summary>
    public int Count => threads.Length + 1;

    /// <summary>
    /// Calls <paramref name="body"/>(context, item, worker) once for each item in [0, <paramref name="itemCount"/>), in any order, and
    /// returns when all have returned. worker is in [0, <see cref="Count"/>) and selects per-worker scratch. The body must not throw.
    /// </summary>
    public void For(int itemCount, delegate*<void*, int, int, void> body, void* state)
    {
        if (itemCount <= 0) return;
        if (threads.Length == 0 || itemCount == 1)
        {
            for (int i = 0; i < itemCount; i++) body(state, i, 0);
            return;
        }

        lock (callers)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            long call = ((ticket >> 32) + 1) << 32;
            Interlocked.Exchange(ref ticket, call | Closed);
            work = body;
            context = state;
            Volatile.Write(ref items, itemCount);
            Volatile.Write(ref done, 0);
            Interlocked.Exchange(ref ticket, call);      // a full fence: workers that see it see the fields above
            Interlocked.Increment(ref epoch);
            if (Volatile.Read(ref parked) > 0)
            {
                lock (parking) Monitor.PulseAll(parking);
            }

            Drain(0);
            for (int spins = 0; Volatile.Read(ref done) != itemCount;)
            {
                Pause();
                if (++spins == SpinsBeforeYielding)
                {
                    spins = 0;
                    Thread.Yield();
                }
            }
        }
    }

    public void Dispose()
    {
        lock (callers)
        {
            if (stopping) return;
            stopping = true;
            Interlocked.Increment(ref epoch);
            lock (parking) Monitor.PulseAll(parking);
        }

        foreach (var thread in threads) thread.Join();
    }

    private void Work(int worker)
    {
        seats?.Register(worker);
        int seen = 0;
        while (true)
        {
            for (int spins = 0; epoch == seen;)
            {
                if (++spins < SpinsBeforeParking)
                {
                    if (spins % SpinsBeforeYielding == 0) Thread.Yield();
                    else Pause();
                    continue;
                }

                lock (parking)
                {
                    Interlocked.Increment(ref parked);   // before the test: For reads it after the epoch has moved
                    while (epoch == seen) Monitor.Wait(parking);
                    Interlocked.Decrement(ref parked);
                }
            }

            seen = epoch;
            if (stopping) return;
            Drain(worker);
        }
    }

    private void Drain(int worker)
    {
        while (true)
        {
            long seen = Volatile.Read(ref ticket);
            int item = (int)seen;
            var body = work;
            void* state = context;
            if (item >= Volatile.Read(ref items)) return;
            seats?.Settle(worker);       // before the item is taken: whoever must wait for a free core holds nobody up
            if (Interlocked.CompareExchange(ref ticket, seen + 1, seen) != seen) continue;
            body(state, item, worker);
            Interlocked.Increment(ref done);
        }
    }

    private static void Pause()
    {
        if (X86Base.IsSupported) X86Base.Pause();
        else Thread.SpinWait(1);
    }
}
