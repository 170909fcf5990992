using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;

namespace DiffusionCore.Cli;

/// <summary>dcore profile: where the time of one evaluation goes.</summary>
internal static class ProfileCommand
{
    public static Command Create(CancellationToken cancellation)
    {
        var path = new Argument<string?>("MODEL") { Description = "Model folder; without it the bundled model", Arity = ArgumentArity.ZeroOrOne };
        var batch = CliOptions.Number("--batch", "Images per pass", 16, 1, 4096);
        var repeats = CliOptions.Number("--repeats", "Evaluations to measure", 15, 3, 10_000);
        var size = new Option<string?>("--size") { Description = "WIDTHxHEIGHT" };
        var device = CliOptions.Device();
        var threads = CliOptions.Threads();
        var exact = CliOptions.Exact();
        var json = CliOptions.Json();
        var command = new Command("profile", "Measure every kernel of one evaluation against this machine's roofs") { path, batch, repeats, size, device, threads, exact, json };
        command.SetAction(p =>
        {
            using var folder = ModelFolder.Load(ModelLocator.Resolve(p.GetValue(path)));
            using var opened = CliOptions.OpenDevice(p.GetValue(device)!, p.GetValue(threads), p.GetValue(exact));
            using var pipeline = new GeneratePipeline(folder, opened);
            var wanted = CliOptions.ParseSize(p.GetValue(size));
            var session = pipeline.Session(
                new GenerateRequest
                {
                    Classes = folder.Classes is { NullClass: null } ? [0] : [], Width = wanted?.Width, Height = wanted?.Height, Options = new SamplerOptions { Steps = 1 },
                },
                p.GetValue(batch));
            var profile = Measure(opened, session, p.GetValue(repeats), cancellation);
            var peak = opened.MeasurePeak();
            if (p.GetValue(json)) Json(profile, peak, session);
            else Text(profile, peak, session);
            return 0;
        });
        return command;
    }

    /// <param name="Seconds">[kernel][repeat].</param>
    /// <param name="Wall">Seconds of each repeat as a whole, measured without the clock between kernels.</param>
    private sealed record Profile(IReadOnlyList<PlanStep> Steps, double[][] Seconds, double[] Wall)
    {
        public double MedianOf(int kernel) => Median(Seconds[kernel]);

        /// <summary>Median of the repeats' sums. The sum of the kernels' medians would leave out what disturbs now one kernel, now another.</summary>
        public double Sum => Median([.. Enumerable.Range(0, Wall.Length).Select(r => Seconds.Sum(k => k[r]))]);
    }

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }

    private static Profile Measure(Device device, DenoiseSession session, int repeats, CancellationToken cancellation)
    {
        session.Start(new DenoiseStart { Seeds = [.. Enumerable.Range(0, session.Images).Select(i => (ulong)i)] });
        session.Executable.Run(Rate.Step);
        var steps = session.Plan.Segments[(int)Rate.Step].Steps;
        var seconds = steps.Select(_ => new double[repeats]).ToArray();
        var wall = new double[repeats];
        var one = new double[steps.Count];
        for (int r = 0; r < repeats; r++)
        {
            // In turn, so that a drift of the machine's speed meets both alike.
            cancellation.ThrowIfCancellationRequested();
            device.Synchronize();
            long start = Stopwatch.GetTimestamp();
            session.Executable.Run(Rate.Step);
            device.Synchronize();
            wall[r] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            Array.Clear(one);
            session.Executable.RunTimed(Rate.Step, one);
            for (int k = 0; k < one.Length; k++) seconds[k][r] = one[k];
        }

        return new Profile(steps, seconds, wall);
    }

    /// <summary>Share of the roof: of the memory roof where a kernel has no arithmetic or is left of the ridge, else of the arithmetic one.</summary>
    private static double RoofShare(PlanStep step, double seconds, Peak peak) =>
        step.Cost.Bytes == 0 ? 0 : Math.Max(step.ExecutedFlops / peak.Gflops, step.Cost.Bytes / peak.CopyGigabytesPerSecond) / 1e9 / seconds;

    private static void Text(Profile profile, Peak peak, DenoiseSession session)
    {
        var table = Tables.New("layer", "operation", "by", "result", ">ms", ">% of time", ">GFLOP/s", ">executed", ">GB/s", ">% of roof");
        double sum = profile.Sum;
        foreach (int k in Enumerable.Range(0, profile.Steps.Count).OrderByDescending(profile.MedianOf))
        {
            var s = profile.Steps[k];
            double t = profile.MedianOf(k);
            table.Row(
                s.Node.Layer, s.Node.Op.Name, s.Implementation.Name, s.Node.Type, $"{t * 1e3:F3}", string.Create(CultureInfo.InvariantCulture, $"{100 * t / sum:F1}"), $"{s.Cost.Flops / t / 1e9:F1}", $"{s.ExecutedFlops / t / 1e9:F1}", $"{s.Cost.Bytes / t / 1e9:F1}",
                string.Create(CultureInfo.InvariantCulture, $"{100 * RoofShare(s, t, peak):F0}"));
        }

        table.Print();
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"kernels {sum * 1e3:F2} ms, wall {Median(profile.Wall) * 1e3:F2} ms, ratio {sum / Median(profile.Wall):F3}; {session.Images} images; medians of {profile.Wall.Length}"));
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"measured roofs: {peak.Gflops:F1} GFLOP/s, {peak.CopyGigabytesPerSecond:F1} GB/s; bytes are compulsory traffic, so cached kernels may pass 100 %"));
    }

    private static void Json(Profile profile, Peak peak, DenoiseSession session) => JsonOut.Write(w =>
    {
        w.WriteNumber("images", session.Images);
        w.WriteNumber("repeats", profile.Wall.Length);
        w.WriteNumber("peak_gflops", peak.Gflops);
        w.WriteNumber("copy_gigabytes_per_second", peak.CopyGigabytesPerSecond);
        w.WriteNumber("wall_ms", Median(profile.Wall) * 1e3);
        w.WriteNumber("kernels_ms", profile.Sum * 1e3);
        w.WriteStartArray("kernels");
        for (int k = 0; k < profile.Steps.Count; k++)
        {
            var s = profile.Steps[k];
            double t = profile.MedianOf(k);
            w.WriteStartObject();
            w.WriteString("layer", s.Node.Layer);
            w.WriteString("op", s.Node.Op.Name);
            w.WriteString("implementation", s.Implementation.Name);
            w.WriteString("shape", s.Node.Type.ToString());
            w.WriteNumber("count", profile.Wall.Length);
            w.WriteNumber("total_ms", profile.Seconds[k].Sum() * 1e3);
            w.WriteNumber("median_ms", t * 1e3);
            w.WriteNumber("flops", s.Cost.Flops);
            w.WriteNumber("executed_flops", s.ExecutedFlops);
            w.WriteNumber("bytes", s.Cost.Bytes);
            w.WriteNumber("gflops", s.Cost.Flops / t / 1e9);
            w.WriteNumber("gigabytes_per_second", s.Cost.Bytes / t / 1e9);
            w.WriteNumber("roof_share", RoofShare(s, t, peak));
            w.WriteEndObject();
        }

        w.WriteEndArray();
    });
}
