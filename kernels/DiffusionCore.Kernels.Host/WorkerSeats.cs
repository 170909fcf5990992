// Where the workers of one pool run, so that no two of them share a core.
//
// Beside a process that keeps one of two cores busy the scheduler now and then puts caller and worker together on the other. Pinning every worker for good
// would cure that, and hurt where another process wants one of those very cores, or where two pools pin to the same ones. So a worker moves only when
// it meets another of its pool: each notes its processor before every item, and who finds a lower-numbered one there leaves for the processors that
// none of the pool uses. The caller, whose thread belongs to somebody else, is never moved: it sends the other away, which also frees one that waits behind
// it for its time slice. Between two threads on two free cores no move was ever seen. Two virtual processors that their host runs on one core (half the peak
// for seconds, both threads always running, no stolen time reported) look the same from within and cannot be helped.
//
// Cost    one getcpu and a compare per worker: 20 ns, before items of 10 microseconds and more. Off where the pool has more threads than the process may
//         use processors, beyond 1024 of them, and elsewhere than on Linux.
using System.Runtime.InteropServices;

namespace DiffusionCore.Kernels.Host;

internal sealed unsafe class WorkerSeats
{
    private const int MaskWords = 16;
    private const int MostWorkers = 64;
    private const int Stride = 16;      // ints: a cache line

    private static readonly delegate* unmanaged[SuppressGCTransition]<int> CurrentProcessor = (delegate* unmanaged[SuppressGCTransition]<int>)Export("sched_getcpu");
    private static readonly delegate* unmanaged<int, nuint, ulong*, int> SetAffinity = (delegate* unmanaged<int, nuint, ulong*, int>)Export("sched_setaffinity");
    private static readonly delegate* unmanaged<int, nuint, ulong*, int> GetAffinity = (delegate* unmanaged<int, nuint, ulong*, int>)Export("sched_getaffinity");
    private static readonly delegate* unmanaged<int> ThreadId = (delegate* unmanaged<int>)Export("gettid");

    private readonly int count;
    private readonly int[] processors, threads;
    private readonly ulong[] allowed = new ulong[MaskWords];

    private WorkerSeats(int count)
    {
        this.count = count;
        processors = new int[count * Stride];
        threads = new int[count * Stride];
        Array.Fill(processors, -1);
    }

    /// <summary>Seats for a pool, or null where nothing can or need be done.</summary>
    public static WorkerSeats? Of(int count)
    {
        if (count is < 2 or > MostWorkers || CurrentProcessor == null || SetAffinity == null || GetAffinity == null || ThreadId == null) return null;
        var seats = new WorkerSeats(count);
        fixed (ulong* mask = seats.allowed)
        {
            if (GetAffinity(0, MaskWords * sizeof(ulong), mask) < 0) return null;
        }

        int processors = 0;
        foreach (ulong word in seats.allowed) processors += System.Numerics.BitOperations.PopCount(word);
        return processors >= count ? seats : null;
    }

    /// <summary>Called once by each worker's own thread.</summary>
    public void Register(int worker) => Volatile.Write(ref threads[worker * Stride], ThreadId());

    /// <summary>The processor that a worker was last seen on, or -1.</summary>
    public int ProcessorOf(int worker) => Volatile.Read(ref processors[worker * Stride]);

    /// <summary>Notes where this thread runs and sees to it that it is alone there.</summary>
    public void Settle(int worker)
    {
        int here = Note(worker);
        for (int other = 0; other < count; other++)
        {
            if (other == worker || ProcessorOf(other) != here) continue;
            if (worker == 0) Move(other);
            else if (other < worker)
            {
                Move(worker);
                return;
            }
        }
    }

    /// <summary>Notes where this thread runs.</summary>
    public int Note(int worker)
    {
        int here = CurrentProcessor();
        if (processors[worker * Stride] != here) Volatile.Write(ref processors[worker * Stride], here);
        return here;
    }

    // To any processor on which no other worker was seen.
    private void Move(int worker)
    {
        int thread = Volatile.Read(ref threads[worker * Stride]);
        if (thread == 0) return;
        ulong* mask = stackalloc ulong[MaskWords];
        for (int i = 0; i < MaskWords; i++) mask[i] = allowed[i];
        for (int other = 0; other < count; other++)
        {
            int at = other == worker ? -1 : ProcessorOf(other);
            if (at is >= 0 and < MaskWords * 64) mask[at / 64] &= ~(1UL << (at % 64));
        }

        Volatile.Write(ref processors[worker * Stride], -1);
        SetAffinity(thread, MaskWords * sizeof(ulong), mask);      // fails where a container narrows the processors meanwhile: then it stays
    }

    private static nint Export(string name) =>
        OperatingSystem.IsLinux() && NativeLibrary.TryGetExport(NativeLibrary.GetMainProgramHandle(), name, out nint at) ? at : 0;
}
