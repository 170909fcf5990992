// What a busy core costs: the operators of one U-Net level in a row, as a step runs them, alone and beside a thread that keeps one core to itself,
// turn by turn. A machine of n cores has n - 1/2 left of its time for n workers, so one of two busy costs a third at best; 60 % is what this project allows.
using System.Diagnostics;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>A step's slowdown by another thread on one core.</summary>
public static class BusyTable
{
    private const double MostSlowdown = 0.6;
    private const int Rounds = 7;

    /// <summary>The kinds that a level of SD1.5's U-Net is made of, largest first.</summary>
    private static readonly string[] Names = ["conv 640@32", "attention 8 heads d80 1024x1024", "geglu 1024x640 to 2x2560", "gemm 1024x640x640", "layernorm 4096x320", "groupnorm SiLU 320@64"];

    /// <summary>Prints the table; whether the median slowdown is allowed.</summary>
    public static bool Run(WorkerPool pool)
    {
        var cases = Cases.All().Where(c => Names.Contains($"{c.Group} {c.Name}")).ToList();
        foreach (var c in cases)
        {
            c.Prepare(pool);
            c.Run();
        }

        List<double> alone = [], beside = [], ratios = [];
        for (int round = 0; round < Rounds; round++)
        {
            alone.Add(Step(cases));
            using var over = new CancellationTokenSource();
            var token = over.Token;
            var other = new Thread(() => Spin(token)) { IsBackground = true };
            other.Start();
            Thread.Sleep(20);
            beside.Add(Step(cases));
            over.Cancel();
            other.Join();
            ratios.Add(beside[^1] / alone[^1] - 1);
        }

        foreach (var c in cases) c.Dispose();
        double slowdown = Timing.Median(ratios);
        Console.WriteLine($"{pool.Count} threads on {Environment.ProcessorCount} cores: a step of {string.Join(", ", Names)}");
        Console.WriteLine($"alone {Timing.Median(alone):F1} ms, one core kept busy {Timing.Median(beside):F1} ms: {slowdown:P0} slower (rounds {ratios.Min():P0} to {ratios.Max():P0}; at most {MostSlowdown:P0})");
        return slowdown <= MostSlowdown;
    }

    private static double Step(List<OperatorCase> cases)
    {
        const int Repeats = 5;
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < Repeats; i++)
            foreach (var c in cases) c.Run();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds / Repeats;
    }

    private static void Spin(CancellationToken token)
    {
        double x = 1;
        while (!token.IsCancellationRequested)
            for (int i = 0; i < 1000; i++) x = Math.Sqrt(x + i);
        GC.KeepAlive(x);
    }
}
