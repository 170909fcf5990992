using DiffusionCore.Fuzz;

namespace DiffusionCore.Cli.Tests;

/// <summary>
/// 44,000 inputs in all, the same ones every time: each is read or refused with a typed error, in bounded time and memory, and what is read is read
/// again the same. The long run is the program tests/DiffusionCore.Fuzz.
/// </summary>
public class FuzzTests
{
    private const ulong Seed = 2026;
    private const int PerTest = 1000, Tests = 4;

    public static TheoryData<string, int> Blocks()
    {
        var rows = new TheoryData<string, int>();
        foreach (var target in FuzzTargets.All)
            for (int block = 0; block < Tests; block++) rows.Add(target.Name, block);
        return rows;
    }

    [Theory]
    [MemberData(nameof(Blocks))]
    public void A_thousand_inputs_are_read_or_refused(string parser, int block)
    {
        var target = FuzzTargets.All.Single(t => t.Name == parser);
        var runner = new FuzzRunner(target, Seed);
        // A thread of its own: one that hangs fails this test and not the whole run.
        var thread = new Thread(() => runner.Run((long)block * PerTest, PerTest)) { IsBackground = true };
        thread.Start();
        Assert.True(thread.Join(TimeSpan.FromSeconds(120)), $"{parser} --first {runner.Current} --seed {Seed} hangs");
        Assert.True(runner.Findings.Count == 0, string.Join("\n", runner.Findings.Select(f => $"{parser} --first {f.Execution} --seed {Seed}: {f.Problem}")));
        Assert.Equal(PerTest, runner.Executions);
        // A generator that makes only rubbish, or only sound files, tests nothing.
        Assert.InRange(runner.Accepted, PerTest / 20, PerTest * 19 / 20);
    }

    [Fact]
    public void A_broken_property_is_found()
    {
        Assert.Contains("InvalidOperationException", Problem(new Broken(() => throw new InvalidOperationException("no typed error"))));
        Assert.Contains("bytes allocated", Problem(new Broken(() => new byte[1 << 20])));
        Assert.Contains("round trip", Problem(new Broken(() => "x")));

        static string Problem(FuzzTarget target)
        {
            var runner = new FuzzRunner(target, 1);
            runner.Run(0, 1);
            return Assert.Single(runner.Findings).Problem;
        }
    }

    [Fact]
    public void The_same_seed_gives_the_same_inputs()
    {
        foreach (var target in FuzzTargets.All)
            for (int i = 0; i < 50; i++) Assert.Equal(target.Make(new Draw(5, i)), target.Make(new Draw(5, i)));
    }

    private sealed class Broken(Func<object> parse) : FuzzTarget
    {
        public override string Name => "broken";

        public override byte[] Make(Draw draw) => draw.Bytes(10);

        public override object Parse(byte[] input) => parse();

        public override void RoundTrip(byte[] input, object parsed) => throw new RoundTripException("other");
    }
}
