using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Benchmarks;

/// <summary>Every kernel on a grid of shapes, turn by turn.</summary>
internal static class ChoiceTable
{
    private static readonly (int Size, int[] Channels)[] Grid =
    [
        (4, [64, 128, 256, 512, 1280]), (8, [32, 64, 128, 256, 512, 1280]), (16, [16, 32, 64, 128, 256, 512, 1280]), (32, [16, 32, 64, 128, 320, 640]), (64, [16, 32, 64, 128, 320]),
        (128, [32, 128]), (12, [64, 320]), (28, [32, 128]),
    ];

    public static void Run()
    {
        using var pool = new WorkerPool(1);
        Console.WriteLine("map   channels batch  direct ms     F2 / direct   F4 / direct");
        foreach (var (size, channels) in Grid)
        {
            foreach (int c in channels)
            {
                foreach (int batch in new[] { 1, 4 })
                {
                    if (batch > 1 && size > 32) continue;
                    var cases = new List<ConvolutionCase>();
                    foreach (int tile in new[] { 0, 2, 4 }) cases.Add(new ConvolutionCase("", c, c, size, batch: batch) { Tile = tile });
                    foreach (var one in cases) one.Prepare(pool);
                    double until = Timing.Now(1) + 150;
                    var lists = cases.ConvertAll(_ => new List<double>());
                    do
                    {
                        for (int i = 0; i < cases.Count; i++)
                        {
                            double start = Timing.Now(1);
                            cases[i].Run();
                            lists[i].Add(Timing.Now(1) - start);
                        }
                    }
                    while (lists[0].Count < 4 || Timing.Now(1) < until);
                    foreach (var list in lists) list.Sort();
                    double direct = lists[0][lists[0].Count / 4];
                    Console.WriteLine($"{size,4} {c,8} {batch,6} {direct,12:F3} {lists[1][lists[1].Count / 4] / direct,12:F2} {lists[2][lists[2].Count / 4] / direct,12:F2}");
                    foreach (var one in cases) one.Dispose();
                }
            }
        }
    }
}
