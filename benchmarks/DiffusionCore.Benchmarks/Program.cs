// The operators of this engine at the shapes of the networks that it is for.
//
//   dotnet run -c Release --project benchmarks/DiffusionCore.Benchmarks -- [operators [FILTER]] [--threads N]    time, GFLOP/s, share of the measured peak
//   dotnet run -c Release --project benchmarks/DiffusionCore.Benchmarks -- choice                                the table of ConvolutionChoice.cs
//   dotnet run -c Release --project benchmarks/DiffusionCore.Benchmarks -- busy --threads N                      a step alone and with one core kept busy
//   dotnet run -c Release --project benchmarks/DiffusionCore.Benchmarks -- pyramid MODEL [ROUNDS] [--threads N]  stages of Frido: the maps of the norms once, against every step
//
// One thread is timed by its own processor time, which other work on the machine hardly touches; several by the clock on the wall.
using DiffusionCore.Benchmarks;
using DiffusionCore.Kernels.Host;

int at = Array.IndexOf(args, "--threads"), threads = at >= 0 && at + 1 < args.Length ? int.Parse(args[at + 1]) : 1;
string[] words = at < 0 ? args : [.. args[..at], .. args[Math.Min(args.Length, at + 2)..]];
switch (words.FirstOrDefault() ?? "operators")
{
    case "choice":
        ChoiceTable.Run();
        return 0;
    case "operators":
        using (var pool = new WorkerPool(threads)) OperatorTable.Run(pool, words.Length > 1 ? words[1] : "");
        return 0;
    case "busy":
        using (var pool = new WorkerPool(threads)) return BusyTable.Run(pool) ? 0 : 1;
    case "pyramid" when words.Length > 1:
        PyramidTable.Run(words[1], threads, words.Length > 2 ? int.Parse(words[2]) : 5);
        return 0;
    default:
        Console.Error.WriteLine("expected operators, choice, busy or pyramid MODEL");
        return 2;
}
