using System.Diagnostics;
using DiffusionCore.Runtime;

namespace DiffusionCore.Fuzz;

/// <summary>An execution that broke a property.</summary>
public sealed record FuzzFinding(long Execution, string Problem, byte[] Input);

/// <summary>Executes a target many times and keeps what broke.</summary>
public sealed class FuzzRunner(FuzzTarget target, ulong seed)
{
    /// <summary>An input of a few kilobytes takes microseconds; a machine shared with others may stop a thread for a while.</summary>
    private const double SecondsPerExecution = 20;
    private const int KeptFindings = 20;

    private long current = -1;

    public List<FuzzFinding> Findings { get; } = [];

    public long Executions { get; private set; }

    public long Accepted { get; private set; }

    public double SlowestSeconds { get; private set; }

    public long MostAllocated { get; private set; }

    /// <summary>The execution that is running, for a watch on another thread.</summary>
    public long Current => Interlocked.Read(ref current);

    public byte[] Input(long execution) => target.Make(new Draw(seed, execution));

    public void Run(long first, long count)
    {
        for (long i = first; i < first + count && Findings.Count < KeptFindings; i++)
        {
            Interlocked.Exchange(ref current, i);
            byte[] input = Input(i);
            if (Problem(input) is { } problem) Findings.Add(new FuzzFinding(i, problem, input));
            Executions++;
        }

        Interlocked.Exchange(ref current, -1);
    }

    private string? Problem(byte[] input)
    {
        long start = Stopwatch.GetTimestamp(), before = GC.GetAllocatedBytesForCurrentThread();
        object? parsed = null;
        string? problem = null;
        try
        {
            parsed = target.Parse(input);
        }
        catch (DiffusionCoreException e)
        {
            if (e.Message.Length == 0 || e.Message.Any(char.IsControl)) problem = $"the message is not one line: {e.Message}";
        }
        catch (Exception e)
        {
            return $"{e.GetType().Name}: {e.Message}\n{e.StackTrace}";
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before, limit = target.AllocationLimit(input);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        MostAllocated = Math.Max(MostAllocated, allocated);
        SlowestSeconds = Math.Max(SlowestSeconds, seconds);
        if (problem is not null) return problem;
        if (allocated > limit) return $"{allocated} bytes allocated for {input.Length} bytes of input; the limit is {limit}";
        if (seconds > SecondsPerExecution) return $"took {seconds:F1} s";
        if (parsed is null) return null;
        Accepted++;
        try
        {
            target.RoundTrip(input, parsed);
            return null;
        }
        catch (Exception e)
        {
            return $"round trip: {e.GetType().Name}: {e.Message}\n{e.StackTrace}";
        }
    }
}
