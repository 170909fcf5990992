using System.Diagnostics;
using DiffusionCore.Benchmarks;
using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Peers;

/// <summary>Whole networks, turn by turn in one process.</summary>
/// <param name="form">How the peer's graph is written; null tries every form and takes the faster.</param>
internal sealed class NetworkTable(NetworkFiles files, int threads, int rounds, GraphForm? form)
{
    // The peer's convolutions must be this fast, or something is wrong with the peer's side and the ratio means nothing.
    private const double LeastPeerGflops = 190;
    private const double LargestForeignLoad = 0.1;

    public static void Header() => Console.WriteLine(
        $"{"network",-66} {"ours ms",9} {"ORT ms",9} {"ratio",6} {"wanted",6}  {"form",-6} {"error ours",10} {"error ORT",10} {"conv GF/s",9} {"foreign",7}");

    /// <summary>Measures one network and prints its row.</summary>
    /// <returns>Whether results are right and the run counts.</returns>
    public bool Run(NetworkCase one)
    {
        files.Export(one);
        double[] right = files.Reference(one);
        var graph = one.Record(files.Model);
        var inputs = NetworkCase.Inputs(graph);
        var chosen = form ?? Faster(one, graph, inputs);
        using var ours = new OurNetwork(graph, inputs, threads);
        using var peer = new PeerNetwork(files.Onnx(one, chosen), graph, inputs, threads);
        using var probe = new Probe(threads);
        ours.Run();
        peer.Run();
        double ourError = Accuracy.Difference(ours.Result(), right), peerError = Accuracy.Difference(peer.Result(), right);
        List<double> ratios = [], mine = [], theirs = [], convolutions = [], loads = [];
        for (int tries = 0; ratios.Count < rounds && tries < 2 * rounds; tries++)
        {
            var load = ForeignLoad.Start();
            long start = Stopwatch.GetTimestamp();
            double a = Turn(ours.Run), b = Turn(peer.Run);
            convolutions.Add(probe.Gflops());
            double foreign = load.Stop(Stopwatch.GetElapsedTime(start).TotalSeconds);
            Console.Error.WriteLine($"  {one.Name}: ours {a:F0} ms, ONNX Runtime {b:F0} ms, its convolutions {convolutions[^1]:F0} GFLOP/s, foreign load {foreign:P0} of a core");
            bool last = tries + (rounds - ratios.Count) >= 2 * rounds;       // too few tries are left to be choosy
            if (foreign > LargestForeignLoad && !last) continue;
            loads.Add(foreign);
            mine.Add(a);
            theirs.Add(b);
            ratios.Add(a / b);
        }

        double speed = Timing.Median(convolutions), largest = loads.Max();
        bool wrong = !(ourError <= one.LargestError), isVoid = threads >= 2 && speed < LeastPeerGflops, disturbed = largest > LargestForeignLoad;
        Console.WriteLine(
            $"{one.Name + ": " + one.What,-66} {Timing.Median(mine),9:F1} {Timing.Median(theirs),9:F1} {Timing.Median(ratios),6:F3} {(one.Target > 0 ? one.Target.ToString("F2") : "-"),6}  {chosen.ToString().ToLowerInvariant(),-6} {ourError,10:E1} {peerError,10:E1} {speed,9:F0} {largest,6:P0}"
            + (wrong ? "  RESULTS DIFFER" : "") + (isVoid ? "  VOID: slow peer" : "") + (disturbed ? "  DISTURBED" : ""));
        return !wrong && !isVoid;
    }

    private GraphForm Faster(NetworkCase one, Runtime.Graph graph, Dictionary<string, float[]> inputs)
    {
        var (best, least) = (GraphForm.Plain, double.MaxValue);
        foreach (var candidate in Enum.GetValues<GraphForm>())
        {
            using var peer = new PeerNetwork(files.Onnx(one, candidate), graph, inputs, threads);
            peer.Run();
            double ms = Math.Min(Turn(peer.Run), Turn(peer.Run));
            Console.Error.WriteLine($"  {one.Name}: the peer's {candidate.ToString().ToLowerInvariant()} graph takes {ms:F0} ms");
            if (ms < least) (best, least) = (candidate, ms);
        }

        return best;
    }

    private double Turn(Action action)
    {
        Quiet.Wait();
        return Timing.Once(action, threads);
    }

    /// <summary>The peer's 3x3 convolutions of the U-Net's three large levels.</summary>
    private sealed class Probe : IDisposable
    {
        private const int Repeats = 3;
        private readonly List<(ConvolutionCase Case, PeerCase Peer)> cases = [];
        private readonly WorkerPool pool = new(1);
        private readonly int threads;

        public Probe(int threads)
        {
            this.threads = threads;
            foreach (var (channels, size) in new[] { (320, 64), (640, 32), (1280, 16) })
            {
                var one = new ConvolutionCase($"{channels}@{size}", channels, channels, size);
                one.Prepare(pool);
                cases.Add((one, new PeerCase(one, threads)));
            }
        }

        /// <summary>Operations of all three over the sum of their times.</summary>
        public double Gflops()
        {
            double flops = 0, ms = 0;
            foreach (var (one, peer) in cases)
            {
                Quiet.Wait();
                peer.Run();
                double least = double.MaxValue;
                for (int i = 0; i < Repeats; i++) least = Math.Min(least, Timing.Once(peer.Run, threads));
                flops += one.Flops;
                ms += least;
            }

            return flops / ms / 1e6;
        }

        public void Dispose()
        {
            foreach (var (one, peer) in cases)
            {
                peer.Dispose();
                one.Dispose();
            }

            pool.Dispose();
        }
    }
}
