// Our operators and networks beside those of ONNX Runtime, in one process, turn by turn; results are compared, the ratio of the medians of a turn is what counts.
//
//   dotnet run -c Release --project benchmarks/peers -- [--threads N] [--rounds N] [FILTER]                      operators, then networks; with a filter only those operators
//   dotnet run -c Release --project benchmarks/peers -- --only stack|unet1|unet2|vae|networks [--form plain|fused] [--models DIR]
//   dotnet run -c Release --project benchmarks/peers -- --only NETWORK --prepare                                 only writes what is slow to make: model, .onnx, double result
//   dotnet run -c Release --project benchmarks/peers -- --only NETWORK --memory                                  largest resident size, each side in a process of its own
//
// The networks' files (9 GB) are made at first use in --models, by default a folder of the system's temporary one, and stay there.
// One thread is timed by its own processor time, several by the clock on the wall: then nothing else should run. A turn starts when the other side's
// waiting threads have stopped spinning (Quiet.cs), and its first run is not counted.
using DiffusionCore.Benchmarks;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Peers;

const double LargestDifference = 2e-5;
int threads = Option("--threads", 2), rounds = Option("--rounds", 7), failures = 0;
string filter = args.Length > 0 && !args[^1].StartsWith('-') && (args.Length < 2 || !args[^2].StartsWith('-')) ? args[^1] : "";
string only = Word("--only", ""), folder = Word("--models", Path.Combine(Path.GetTempPath(), "dcore-peers"));
if (only.Length > 0 || args is [NetworkMemory.Child, ..]) return Networks();
using var pool = new WorkerPool(threads);
double peak = threads == 1 ? PeakMeter.FmaGflopsPerCore() : PeakMeter.FmaGflops(pool);
Console.WriteLine($"{pool.Isa}, {threads} threads, measured peak {peak:F1} GFLOP/s, {DateTime.UtcNow:yyyy-MM-dd}, ONNX Runtime {typeof(Microsoft.ML.OnnxRuntime.InferenceSession).Assembly.GetName().Version?.ToString(3)}");
Console.WriteLine($"{"operator",-34} {"kernel",-12} {"ours ms",9} {"ORT ms",9} {"ratio",6} {"wanted",6}  {"of peak",7}  difference");
var products = new List<double>();
foreach (var one in Cases.All())
{
    using (one)
    {
        if (!$"{one.Group} {one.Name}".Contains(filter, StringComparison.OrdinalIgnoreCase)) continue;
        one.Prepare(pool);
        using var peer = new PeerCase(one, threads);
        one.Run();
        peer.Run();
        double difference = peer.Difference(), mine = Timing.Once(one.Run, threads);
        int repeats = Math.Clamp((int)(20 / Math.Max(mine, 0.01)), 1, 50);
        List<double> ratios = [], ours = [], theirs = [];
        for (int round = 0; round < rounds; round++)
        {
            ours.Add(Turn(one.Run, repeats));
            theirs.Add(Turn(peer.Run, repeats));
            ratios.Add(ours[^1] / theirs[^1]);
        }

        double ratio = Timing.Median(ratios), ms = Timing.Median(ours);
        if (one.Group == "gemm" && one.Target > 0) products.Add(ratio);
        bool wrong = !(difference <= LargestDifference);
        if (wrong) failures++;
        Console.WriteLine(
            $"{one.Group + " " + one.Name,-34} {one.Kernel,-12} {ms,9:F3} {Timing.Median(theirs),9:F3} {ratio,6:F2} {(one.Target > 0 ? one.Target.ToString("F2") : "-"),6}  {one.Flops / ms / 1e4 / peak,6:F0}%  {difference:E1}{(wrong ? "  RESULTS DIFFER" : "")}");
    }
}

if (filter.Length == 0) failures += Networks();
if (products.Count > 0) Console.WriteLine($"matrix products: geometric mean of the ratios {Math.Exp(products.Average(Math.Log)):F3}");
return failures == 0 ? 0 : 1;

double Turn(Action action, int repeats)
{
    Quiet.Wait();
    action();
    var times = new List<double>();
    for (int i = 0; i < repeats; i++) times.Add(Timing.Once(action, threads));
    return Timing.Median(times);
}

int Option(string name, int fallback) => int.Parse(Word(name, $"{fallback}"));

string Word(string name, string fallback)
{
    int at = Array.IndexOf(args, name);
    return at >= 0 && at + 1 < args.Length ? args[at + 1] : fallback;
}

int Networks()
{
    var files = new NetworkFiles(folder);
    GraphForm? form = Word("--form", "") is { Length: > 0 } word ? Enum.Parse<GraphForm>(word, ignoreCase: true) : null;
    if (args is [NetworkMemory.Child, var side, var name, ..]) return NetworkMemory.RunChild(files, NetworkCase.All.First(c => c.Name == name), side, threads, form!.Value);
    var wanted = NetworkCase.All.Where(c => only is "" or "networks" || c.Name == only).ToList();
    if (wanted.Count == 0) throw new ArgumentException($"--only: expected {string.Join(", ", NetworkCase.All.Select(c => c.Name))} or networks, found {only}");
    bool prepare = args.Contains("--prepare"), memory = args.Contains("--memory");
    if (!prepare && !memory) NetworkTable.Header();
    int bad = 0;
    foreach (var one in wanted)
    {
        if (prepare)
        {
            files.Export(one);
            files.Reference(one);
        }
        else if (memory)
        {
            NetworkMemory.Run(files, one, folder, threads);
        }
        else if (!new NetworkTable(files, threads, rounds, form).Run(one))
        {
            bad++;
        }
    }

    return bad == 0 ? 0 : 1;
}
