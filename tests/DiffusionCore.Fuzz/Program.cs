using System.Diagnostics;
using System.Globalization;
using DiffusionCore.Fuzz;

// The long run: dotnet run -c Release --project tests/DiffusionCore.Fuzz -- --parser png --executions 1000000 --seed 1
// One execution again, to look into it: --first 1234 --executions 1 (with the same seed). Findings are written to --out.
const int HangSeconds = 20;
const long Block = 10_000;

FuzzTarget[] targets = FuzzTargets.All;
var options = new Dictionary<string, string> { ["--parser"] = "all", ["--executions"] = "100000", ["--seed"] = "1", ["--first"] = "0", ["--out"] = "" };
for (int i = 0; i < args.Length; i += 2)
{
    if (i + 1 == args.Length || !options.ContainsKey(args[i]))
    {
        Console.Error.WriteLine($"fuzz: expected {string.Join(" X ", options.Keys)} X, found '{args[i]}'; parsers: {string.Join(", ", targets.Select(t => t.Name))}, all");
        return 2;
    }

    options[args[i]] = args[i + 1];
}

long executions = long.Parse(options["--executions"], CultureInfo.InvariantCulture), first = long.Parse(options["--first"], CultureInfo.InvariantCulture);
ulong seed = ulong.Parse(options["--seed"], CultureInfo.InvariantCulture);
var chosen = targets.Where(t => options["--parser"] is "all" || options["--parser"] == t.Name).ToArray();
if (chosen.Length == 0)
{
    Console.Error.WriteLine($"fuzz: unknown parser '{options["--parser"]}'; known: {string.Join(", ", targets.Select(t => t.Name))}, all");
    return 2;
}

int found = 0;
foreach (var target in chosen)
{
    var runner = new FuzzRunner(target, seed);
    using var watch = new Timer(Watch, new long[] { -1, 0 }, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
    var clock = Stopwatch.StartNew();
    for (long at = first; at < first + executions; at += Block)
    {
        runner.Run(at, Math.Min(Block, first + executions - at));
        // A process that dies without a word has died in the block after the last line.
        if (at / Block % 10 == 0) Console.Error.WriteLine($"{target.Name}: from {at}, {clock.Elapsed.TotalSeconds:F0} s, {runner.Findings.Count} findings, working set {Environment.WorkingSet >> 20} MiB");
        if (runner.Findings.Count >= 20) break;
    }

    foreach (var finding in runner.Findings)
    {
        Console.WriteLine($"{target.Name} --first {finding.Execution} --seed {seed}: {finding.Problem}");
        if (options["--out"].Length > 0) File.WriteAllBytes(Path.Combine(options["--out"], $"{target.Name}-{seed}-{finding.Execution}"), finding.Input);
    }

    found += runner.Findings.Count;
    Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{target.Name}: {runner.Executions} executions in {clock.Elapsed.TotalSeconds:F1} s, {runner.Accepted} accepted, {runner.Findings.Count} findings, at most {runner.MostAllocated} bytes and {runner.SlowestSeconds:F3} s each"));

    void Watch(object? state)
    {
        var last = (long[])state!;
        long now = runner.Current;
        last[1] = now >= 0 && now == last[0] ? last[1] + 1 : 0;
        last[0] = now;
        if (last[1] < HangSeconds) return;
        Console.WriteLine($"{target.Name} --first {now} --seed {seed}: hangs");
        Environment.Exit(1);
    }
}

return found == 0 ? 0 : 1;
