using System.Diagnostics;
using DiffusionCore.Benchmarks;
using DiffusionCore.Kernels.Host;

using var pool = new WorkerPool(2);
var list = new List<OperatorCase>();
foreach (var (c, s) in new[] { (320, 64), (640, 32), (1280, 16), (1280, 8), (512, 64), (256, 256), (128, 512) })
    foreach (int t in new[] { 0, 2, 4 }) list.Add(new ConvolutionCase($"{c}@{s}", c, c, s) { Tile = t });
foreach (var g in list)
{
    g.Prepare(pool);
    g.Run();
    var times = new List<double>();
    var total = Stopwatch.StartNew();
    while (times.Count < 5 || total.ElapsedMilliseconds < 400)
    {
        long a = Stopwatch.GetTimestamp();
        g.Run();
        times.Add(Stopwatch.GetElapsedTime(a).TotalMilliseconds);
    }

    times.Sort();
    Console.WriteLine($"{g.Name,-12} {g.Kernel,-12} min {times[0],8:F2} med {times[times.Count / 2],8:F2} ms  {g.Flops / times[0] / 1e6,7:F1} GF/s");
    g.Dispose();
}
