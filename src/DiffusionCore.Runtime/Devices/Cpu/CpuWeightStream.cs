using System.Runtime.ExceptionServices;
using DiffusionCore.Runtime.Passes;

namespace DiffusionCore.Runtime;

/// <summary>Brings streamed weights from their files into a ring, ahead of the steps that read them.</summary>
/// <remarks>
/// The order of steps is fixed, so every weight's place in the ring is too, and with it the step that must be over before the place is written again.
/// Threads of its own read ahead by parts; the thread that runs the plan joins in when it would have to wait. Nothing is allocated during a run.
/// </remarks>
internal sealed unsafe class CpuWeightStream : IDisposable
{
    private const int ThreadsPerReader = 4, MostReaders = 4;
    private const int Lookback = 16;

    private readonly CpuBuffer ring;
    private readonly nint[] places;
    private readonly Feed[] feeds = new Feed[3];
    private readonly Thread[] threads;
    private readonly object gate = new();
    private byte[] memory = [];
    private Feed? active;
    private int next, taken, finished;      // the load that is read, parts of it given out, parts of it done
    private int loaded, consumed;           // loads in the ring so far, loads whose step is over
    private int reading;
    private ExceptionDispatchInfo? failure;
    private bool stopping;

    /// <param name="workers">Threads that compute.</param>
    public CpuWeightStream(WeightResidency residency, int workers)
    {
        ring = CpuBuffer.Uninitialized(residency.RingBytes);
        places = new nint[residency.Uses.Count];
        for (int rate = 0; rate < 3; rate++) feeds[rate] = Place(residency, (Rate)rate);
        threads = new Thread[Math.Clamp(workers / ThreadsPerReader, 1, MostReaders)];
        for (int i = 0; i < threads.Length; i++)
        {
            threads[i] = new Thread(ReadAhead) { IsBackground = true, Name = $"dcore reader {i}" };
            threads[i].Start();
        }
    }

    /// <summary>Where a use of the residency's list is when its step runs.</summary>
    public byte* At(int use) => (byte*)places[use];

    /// <summary>Whether any step of the rate reads streamed weights.</summary>
    public bool Feeds(Rate rate) => feeds[(int)rate].Loads.Length > 0;

    /// <summary>Starts reading for a run of the rate's steps.</summary>
    public void Begin(Rate rate)
    {
        lock (gate)
        {
            (active, next, taken, finished, loaded, consumed, failure) = (feeds[(int)rate], 0, 0, 0, 0, 0, null);
            Monitor.PulseAll(gate);
        }
    }

    /// <summary>Returns when the step's weights are there.</summary>
    public void Await(int step)
    {
        int load = active!.Of(step);
        if (load < 0) return;
        lock (gate)
        {
            while (loaded <= load)
            {
                failure?.Throw();
                if (!ReadNext(ref memory)) Monitor.Wait(gate);
            }
        }
    }

    /// <summary>The step is over; its weights may be overwritten.</summary>
    public void Done(int step)
    {
        int load = active!.Of(step);
        if (load < 0) return;
        lock (gate)
        {
            consumed = load + 1;
            Monitor.PulseAll(gate);
        }
    }

    /// <summary>Ends the run, wherever it stands; returns when nothing is read any more.</summary>
    public void End()
    {
        lock (gate)
        {
            active = null;
            while (reading > 0) Monitor.Wait(gate);
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            (stopping, active) = (true, null);
            Monitor.PulseAll(gate);
        }

        foreach (var thread in threads) thread.Join();
        ring.Dispose();
    }

    private void ReadAhead()
    {
        byte[] own = [];
        lock (gate)
        {
            while (!stopping)
            {
                if (!ReadNext(ref own)) Monitor.Wait(gate);
            }
        }
    }

    // Reads a part with the gate open meanwhile; false where there is none to read.
    private bool ReadNext(ref byte[] memory)
    {
        if (!Take(out var part)) return false;
        ExceptionDispatchInfo? failed;
        Monitor.Exit(gate);
        try
        {
            failed = Read(part, ref memory);
        }
        finally
        {
            Monitor.Enter(gate);
        }

        Finish(failed);
        return true;
    }

    // A part of the load that is read now, once its place is free.
    private bool Take(out Part part)
    {
        part = default;
        if (active is not { } feed || failure is not null || next == feed.Loads.Length) return false;
        var load = feed.Loads[next];
        if (load.After >= consumed || taken == load.Parts.Length) return false;
        part = load.Parts[taken++];
        reading++;
        return true;
    }

    private void Finish(ExceptionDispatchInfo? failed)
    {
        reading--;
        failure ??= failed;
        if (active is { } feed && ++finished == feed.Loads[next].Parts.Length)
        {
            loaded = ++next;
            (taken, finished) = (0, 0);
        }

        Monitor.PulseAll(gate);
    }

    private static ExceptionDispatchInfo? Read(Part part, ref byte[] memory)
    {
        try
        {
            memory = CpuWeightStore.ReadPart(part.Use, (byte*)part.Target, part.FirstRow, part.Rows, memory);
            return null;
        }
        catch (Exception e)
        {
            // Whoever waits for the weight reports it.
            return ExceptionDispatchInfo.Capture(e);
        }
    }

    // Puts each step's streamed weights into the ring, where the step that last had the place is over soonest.
    private Feed Place(WeightResidency residency, Rate rate)
    {
        var loads = new List<Load>();
        var spans = new List<(long Start, long End)>();
        var loadOf = new List<int>();
        for (int i = 0; i < residency.Uses.Count;)
        {
            int end = i, step = residency.Uses[i].Step;
            bool mine = residency.Uses[i].Rate == rate;
            var streamed = new List<int>();
            for (; end < residency.Uses.Count && residency.Uses[end].Step == step && residency.Uses[end].Rate == residency.Uses[i].Rate; end++)
                if (residency.Streamed.Contains(residency.Uses[end].Use)) streamed.Add(end);
            i = end;
            if (!mine || streamed.Count == 0) continue;
            long size = streamed.Sum(u => ArenaPass.Align(residency.Uses[u].Use.Bytes));
            var (start, after) = FreeSoonest(spans, size);
            spans.Add((start, start + size));
            var parts = new List<Part>();
            foreach (int u in streamed)
            {
                var use = residency.Uses[u].Use;
                places[u] = (nint)(ring.Pointer + start);
                start += ArenaPass.Align(use.Bytes);
                for (long row = 0, rows = use.PartRows; row < use.Rows; row += rows) parts.Add(new Part(use, places[u], row, Math.Min(rows, use.Rows - row)));
            }

            while (loadOf.Count < step) loadOf.Add(-1);
            loadOf.Add(loads.Count);
            loads.Add(new Load([.. parts], after));
        }

        return new Feed([.. loads], [.. loadOf]);
    }

    // Candidates are the ring's ends and the ends of what lies in it.
    private (long Start, int After) FreeSoonest(List<(long Start, long End)> spans, long size)
    {
        (long Start, int After) best = (0, int.MaxValue);
        long last = ring.Bytes - size;
        Consider(0);
        Consider(last);
        for (int k = spans.Count - 1; k >= Math.Max(0, spans.Count - Lookback); k--)
        {
            Consider(spans[k].End);
            Consider(spans[k].Start - size);
        }

        return best;

        void Consider(long start)
        {
            if (start < 0 || start > last) return;
            int after = spans.FindLastIndex(s => s.Start < start + size && start < s.End);
            if (after < best.After) best = (start, after);
        }
    }

    /// <param name="Target">Place of the whole weight.</param>
    private readonly record struct Part(WeightUse Use, nint Target, long FirstRow, long Rows);

    /// <summary>The streamed weights of one step.</summary>
    /// <param name="After">The load whose step must be over before this one may be read; -1 for none.</param>
    private sealed record Load(Part[] Parts, int After);

    /// <param name="LoadOf">By step; -1 for none.</param>
    private sealed record Feed(Load[] Loads, int[] LoadOf)
    {
        public int Of(int step) => step < LoadOf.Length ? LoadOf[step] : -1;
    }
}
