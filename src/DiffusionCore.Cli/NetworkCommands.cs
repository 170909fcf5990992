using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using DiffusionCore.Metrics;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Weights;

namespace DiffusionCore.Cli;

/// <summary>dcore run.</summary>
internal static class RunCommand
{
    public static Command Create()
    {
        var model = new Option<string>("--model", "-m") { Description = "Component folder: config.json and weights", Required = true };
        var input = new Option<string>("--input") { Description = "Safetensors file with tensors in.NAME", Required = true };
        var output = new Option<string>("--output", "-o") { Description = "Safetensors file for tensors out.NAME", Required = true };
        var variant = new Option<string?>("--variant") { Description = "Weights variant, such as fp16" };
        var device = CliOptions.Device();
        var threads = CliOptions.Threads();
        var exact = CliOptions.Exact();
        var force = CliOptions.Force();
        var lora = CliOptions.Lora();
        var finite = new Option<bool>("--check-finite") { Description = "Look for NaN and infinity in the weights first" };
        var set = GivenInputs.Option();
        var command = new Command("run", "Evaluate one network on given tensors: every output that they allow") { model, input, set, output, variant, device, threads, exact, force, lora, finite };
        command.SetAction(p =>
        {
            AtomicFile.Check(p.GetValue(output)!, p.GetValue(force));
            AtomicFile.CheckFolder(p.GetValue(output)!);
            var more = GivenInputs.Parse(p.GetValue(set) ?? []);
            using var loras = LoraSet.Open(p.GetValue(lora) ?? []);
            using var component = Component.Load(p.GetValue(model)!, p.GetValue(variant), loras.Uses);
            if (p.GetValue(finite)) FiniteCheck.Run(component.Checkpoint);
            CommandLine.Note(component.Account.ToString());
            if (loras.Uses.Count > 0) CommandLine.Note($"{component.Checkpoint.Merge!.Count} tensors changed by LoRA");
            using var tensors = Checkpoint.Open(p.GetValue(input)!);
            using var opened = CliOptions.OpenDevice(p.GetValue(device)!, p.GetValue(threads), p.GetValue(exact));
            SafetensorsWriter.Write(p.GetValue(output)!, Component.Run(component, tensors, opened, more), null, p.GetValue(force));
            Console.Out.WriteLine(p.GetValue(output));
            return 0;
        });
        return command;
    }
}

/// <summary>dcore explain.</summary>
internal static class ExplainCommand
{
    private const int Repeats = 15, WarmUp = 5;

    public static Command Create(CancellationToken cancellation)
    {
        var path = new Argument<string?>("MODEL") { Description = "Model folder; without it the bundled model", Arity = ArgumentArity.ZeroOrOne };
        var batch = CliOptions.Number("--batch", "Images per pass", 1, 1, 4096);
        var measure = new Option<bool>("--measure") { Description = "Run it and print the time of every step against the measured peak" };
        var guided = new Option<bool>("--guided") { Description = "With both branches of guidance in one batch" };
        var size = new Option<string?>("--size") { Description = "WIDTHxHEIGHT" };
        var device = CliOptions.Device();
        var threads = CliOptions.Threads();
        var exact = CliOptions.Exact();
        var json = CliOptions.Json();
        var command = new Command("explain", "Show a network's plan: every step, who computes it, its cost and place") { path, batch, measure, guided, size, device, threads, exact, json };
        command.SetAction(p =>
        {
            using var folder = ModelFolder.Load(ModelLocator.Resolve(p.GetValue(path)));
            using var opened = CliOptions.OpenDevice(p.GetValue(device)!, p.GetValue(threads), p.GetValue(exact));
            using var pipeline = new GeneratePipeline(folder, opened);
            var wanted = CliOptions.ParseSize(p.GetValue(size));
            bool classes = p.GetValue(guided) && folder.Classes?.NullClass is not null;
            if (p.GetValue(guided) && !classes) throw new UsageException($"--guided: {folder.Name} has no null class");
            var request = new GenerateRequest
            {
                Classes = classes ? [0] : folder.Classes is { NullClass: null } ? [0] : [], Guidance = classes ? 1.5 : 1, Width = wanted?.Width, Height = wanted?.Height,
                Options = new SamplerOptions { Steps = 1 },
            };
            var session = pipeline.Session(request, p.GetValue(batch));
            double[][] seconds = p.GetValue(measure) ? Measure(session, cancellation) : [];
            Peak? peak = p.GetValue(measure) ? opened.MeasurePeak() : null;
            if (p.GetValue(json)) Json(session, seconds, peak, pipeline.WeightBytes);
            else Text(session, seconds, peak, pipeline.WeightBytes);
            return 0;
        });
        return command;
    }

    // Seconds per step of the step-rate segment, one array per repeat.
    private static double[][] Measure(DenoiseSession session, CancellationToken cancellation)
    {
        session.Start(new DenoiseStart { Seeds = [.. Enumerable.Range(0, session.Images).Select(i => (ulong)i)], Guidance = 1.5 });
        for (int i = 0; i < WarmUp; i++) session.Executable.Run(Rate.Step);      // code is compiled and caches are filled
        var runs = new double[Repeats][];
        for (int r = 0; r < Repeats; r++)
        {
            cancellation.ThrowIfCancellationRequested();
            runs[r] = new double[session.Plan.Segments[(int)Rate.Step].Steps.Count];
            session.Executable.RunTimed(Rate.Step, runs[r]);
        }

        return runs;
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }

    private static bool IsProduct(Op op) => op is LinearOp or FusedLinearOp or LinearGegluOp or Conv2dOp or FusedConv2dOp or UpsampledConv2dOp or MatMulOp;

    private static void Text(DenoiseSession session, double[][] seconds, Peak? peak, long weightBytes)
    {
        var plan = session.Plan;
        foreach (var segment in plan.Segments)
        {
            if (segment.Steps.Count == 0) continue;
            bool timed = seconds.Length > 0 && segment.Rate == Rate.Step;
            var table = timed
                ? Tables.New(">#", "layer", "operation", "by", "result", ">FLOP", ">executed", ">bytes", ">ms", ">GFLOP/s", ">GB/s", ">% of roof")
                : Tables.New(">#", "layer", "operation", "by", "result", ">FLOP", ">bytes", ">FLOP/byte", ">offset", ">scratch", "declined");
            for (int i = 0; i < segment.Steps.Count; i++)
            {
                var s = segment.Steps[i];
                if (timed)
                {
                    double t = Median(seconds.Select(r => r[i])), roof = Math.Min(peak!.Gflops, peak.CopyGigabytesPerSecond * s.ExecutedFlops / Math.Max(1, s.Cost.Bytes));
                    double share = s.ExecutedFlops > 0 ? s.ExecutedFlops / t / 1e9 / roof : s.Cost.Bytes / t / 1e9 / peak.CopyGigabytesPerSecond;
                    table.Row(i, s.Node.Layer, s.Node.Op.Name, s.Implementation.Name, s.Node.Type, Tables.Si(s.Cost.Flops), Tables.Si(s.ExecutedFlops), Tables.Bytes(s.Cost.Bytes), $"{t * 1e3:F3}", $"{s.ExecutedFlops / t / 1e9:F1}", $"{s.Cost.Bytes / t / 1e9:F1}", $"{share:P0}");
                }
                else
                {
                    table.Row(
                        i, s.Node.Layer, s.Node.Op.Name, s.Implementation.Name, s.Node.Type, Tables.Si(s.Cost.Flops), Tables.Bytes(s.Cost.Bytes), $"{s.Cost.Flops / Math.Max(1, s.Cost.Bytes):F1}",
                        plan.Places[s.Node.Id].Offset, s.ScratchBytes, string.Join("; ", s.Declined.Select(d => $"{d.Name}: {d.Reason}")));
                }
            }

            table.Print();
            var cost = plan.Cost(segment.Rate);
            Console.Out.WriteLine($"{segment.Rate.ToString().ToLowerInvariant()}: {segment.Steps.Count} steps, {Tables.Si(cost.Flops)}FLOP by definition, {Tables.Si(segment.Steps.Sum(s => s.ExecutedFlops))}FLOP executed, {Tables.Bytes(cost.Bytes)} compulsory, arena {segment.ArenaBytes} bytes");
        }

        Console.Out.WriteLine($"arena {plan.ArenaBytes} bytes planned, {session.Executable.AllocatedBytes} allocated; weights {weightBytes} bytes; planned in {plan.PlanningTime.TotalMilliseconds:F1} ms");
        if (peak is null) return;
        var (products, total) = Totals(session, seconds);
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"measured peak {peak.Gflops:F1} GFLOP/s, copy {peak.CopyGigabytesPerSecond:F1} GB/s"));
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"convolutions and matrix products: {products.Executed / products.Seconds / 1e9:F1} GFLOP/s executed, {products.Executed / products.Seconds / 1e9 / peak.Gflops:P1} of peak; {products.Flops / products.Seconds / 1e9:F1} GFLOP/s of their definitions; {products.Seconds / total:P0} of the time"));
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"one evaluation: {total * 1e3:F2} ms for {session.Images} images, {session.Images / total:F1} images/s per evaluation"));
    }

    private static ((double Flops, double Executed, double Seconds) Products, double Total) Totals(DenoiseSession session, double[][] seconds)
    {
        double flops = 0, executed = 0, time = 0, total = 0;
        var steps = session.Plan.Segments[(int)Rate.Step].Steps;
        for (int i = 0; i < steps.Count; i++)
        {
            double t = Median(seconds.Select(r => r[i]));
            total += t;
            if (!IsProduct(steps[i].Node.Op)) continue;
            flops += steps[i].Cost.Flops;
            executed += steps[i].ExecutedFlops;
            time += t;
        }

        return ((flops, executed, time), total);
    }

    private static void Json(DenoiseSession session, double[][] seconds, Peak? peak, long weightBytes) => JsonOut.Write(w =>
    {
        var plan = session.Plan;
        w.WriteNumber("arena_bytes", plan.ArenaBytes);
        w.WriteNumber("allocated_bytes", session.Executable.AllocatedBytes);
        w.WriteNumber("weight_bytes", weightBytes);
        w.WriteNumber("planning_ms", plan.PlanningTime.TotalMilliseconds);
        if (peak is not null)
        {
            var (products, total) = Totals(session, seconds);
            w.WriteNumber("peak_gflops", peak.Gflops);
            w.WriteNumber("copy_gigabytes_per_second", peak.CopyGigabytesPerSecond);
            w.WriteNumber("product_gflops", products.Flops / products.Seconds / 1e9);
            w.WriteNumber("product_executed_gflops", products.Executed / products.Seconds / 1e9);
            w.WriteNumber("product_share_of_peak", products.Executed / products.Seconds / 1e9 / peak.Gflops);
            w.WriteNumber("evaluation_ms", total * 1e3);
        }

        w.WriteStartArray("steps");
        foreach (var segment in plan.Segments)
        {
            for (int i = 0; i < segment.Steps.Count; i++)
            {
                var s = segment.Steps[i];
                w.WriteStartObject();
                w.WriteString("rate", segment.Rate.ToString().ToLowerInvariant());
                w.WriteString("layer", s.Node.Layer);
                w.WriteString("op", s.Node.Op.Name);
                w.WriteString("implementation", s.Implementation.Name);
                w.WriteString("result", s.Node.Type.ToString());
                w.WriteNumber("flops", s.Cost.Flops);
                w.WriteNumber("executed_flops", s.ExecutedFlops);
                w.WriteNumber("bytes", s.Cost.Bytes);
                w.WriteNumber("offset", plan.Places[s.Node.Id].Offset);
                w.WriteNumber("scratch_bytes", s.ScratchBytes);
                if (seconds.Length > 0 && segment.Rate == Rate.Step) w.WriteNumber("ms", Median(seconds.Select(r => r[i])) * 1e3);
                w.WriteEndObject();
            }
        }

        w.WriteEndArray();
    });
}

/// <summary>dcore evaluate.</summary>
internal static class EvaluateCommand
{
    public static Command Create(CancellationToken cancellation)
    {
        var model = CliOptions.Model();
        var classifier = new Option<string?>("--classifier") { Description = "Classifier folder; without it the bundled one" };
        var perClass = CliOptions.Number("--per-class", "Images of each class", 20, 1, 10_000);
        var steps = CliOptions.Number("--steps", "Denoising steps", 100, 1, 10_000);
        var sampler = new Option<string?>("--sampler") { Description = string.Join(", ", Sampler.Names) };
        var guidance = CliOptions.Real("--guidance", "Classifier-free guidance; 1 is none", 1.5, -1000, 1000);
        var steering = CliOptions.ClassifierGuidance();
        var seed = new Option<string?>("--seed") { Description = "Seed of the first image", DefaultValueFactory = _ => "0" };
        var opened = CliOptions.Device();
        var threads = CliOptions.Threads();
        var json = CliOptions.Json();
        var command = new Command("evaluate", "Make images of every class and count how many a classifier puts there") { model, classifier, perClass, steps, sampler, guidance, steering, seed, opened, threads, json };
        var frechet = new FrechetOptions();
        foreach (var option in frechet.All) command.Add(option);
        var shortcuts = new ShortcutEvaluation();
        shortcuts.AddTo(command);
        command.SetAction(p =>
        {
            bool compares = shortcuts.Asked(p);
            bool distances = frechet.Asked(p, guidance, seed);
            if (compares && distances) throw new UsageException("evaluate: --shortcuts and --frechet are two evaluations; ask for one");
            string judged = p.GetValue(classifier) ?? ModelLocator.Bundled(ModelLocator.Classifier);
            double? steered = p.GetValue(steering);
            if (steered is not null && (compares || distances)) throw new UsageException("--classifier-guidance goes neither with --shortcuts nor with --frechet; leave one of them out");
            if (steered is not null && p.GetResult(guidance) is { Implicit: false }) throw new UsageException("--classifier-guidance replaces --guidance: give one of them");
            using var folder = ModelFolder.Load(ModelLocator.Resolve(p.GetValue(model)), new ModelOptions { Classifier = steered > 0 ? judged : null });
            if (compares && folder.FirstStage is not null)
            {
                // Their time does not depend on the classes, and there is no classifier of their images.
                foreach (Option other in new Option[] { classifier, perClass })
                    if (p.GetResult(other) is { Implicit: false }) throw new UsageException($"{other.Name}: {folder.Name} works on latents, of which --shortcuts takes the time of one image alone; leave it out");
                using var alone = CliOptions.OpenDevice(p.GetValue(opened)!, p.GetValue(threads), exact: false);
                var one = new GenerateRequest
                {
                    Classes = folder.Classes is null ? [] : [0], Seed = CliOptions.ParseSeed(p.GetValue(seed)), Guidance = p.GetResult(guidance) is { Implicit: false } ? p.GetValue(guidance) : 1,
                    Sampler = p.GetValue(sampler), Options = new SamplerOptions { Steps = p.GetValue(steps) },
                };
                return shortcuts.Run(p, folder, alone, one, null, p.GetValue(json), cancellation);
            }

            using var component = Component.Load(judged);
            if (component.Network is not ImageClassifier network) throw new ModelFileException(component.Path, "_class_name", "expected an ImageClassifier");
            using var device = CliOptions.OpenDevice(p.GetValue(opened)!, p.GetValue(threads), exact: false);
            if (distances)
            {
                foreach (Option other in new Option[] { perClass, steps, sampler })
                    if (p.GetResult(other) is { Implicit: false }) throw new UsageException($"{other.Name} does not go with --frechet, which has --images, --nfe and --samplers");
                double scale = p.GetResult(guidance) is { Implicit: false } ? p.GetValue(guidance) : 1;
                return frechet.Run(p, folder, component.Path, network, device, scale, CliOptions.ParseSeed(p.GetValue(seed)), p.GetValue(json), cancellation);
            }

            var classes = GenerateCommand.Classes(folder, "all");
            if (!classes.Select(c => folder.Classes!.Names[c]).SequenceEqual(network.Config.Classes)) throw new ModelFileException(component.Path, "classes", "are not those of the model");
            var request = new GenerateRequest
            {
                Count = classes.Count * p.GetValue(perClass), Classes = classes, Seed = CliOptions.ParseSeed(p.GetValue(seed)), Guidance = steered is null ? p.GetValue(guidance) : 1, ClassifierGuidance = steered, Sampler = p.GetValue(sampler),
                Options = new SamplerOptions { Steps = p.GetValue(steps) },
            };
            long start = Stopwatch.GetTimestamp();
            using var judge = new ImageJudge(network, device);
            if (compares) return shortcuts.Run(p, folder, device, request, judge, p.GetValue(json), cancellation);
            using var pipeline = new GeneratePipeline(folder, device);
            var agreed = new int[classes.Count];
            var waiting = new List<GeneratedImage>();
            using (var progress = new ProgressLine())
            {
                pipeline.Generate(
                    request,
                    image =>
                    {
                        waiting.Add(image);
                        if (waiting.Count == ImageJudge.Batch) Look();
                    },
                    progress.Report, cancellation);
                Look();
            }

            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            int total = agreed.Sum();
            if (p.GetValue(json))
            {
                JsonOut.Write(w =>
                {
                    w.WriteNumber("images", request.Count);
                    w.WriteNumber("agreed", total);
                    w.WriteNumber("agreement", (double)total / request.Count);
                    w.WriteNumber("seconds", seconds);
                    w.WriteStartObject("classes");
                    for (int c = 0; c < agreed.Length; c++) w.WriteNumber(network.Config.Classes[c], agreed[c]);
                    w.WriteEndObject();
                });
                return 0;
            }

            var table = Tables.New("class", ">images", ">agreed");
            for (int c = 0; c < agreed.Length; c++) table.Row(network.Config.Classes[c], p.GetValue(perClass), agreed[c]);
            table.Print();
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"agreement {total} of {request.Count}, {100.0 * total / request.Count:F1} % in {seconds:F1} s ({pipeline.Plan(request).Name}, {p.GetValue(steps)} steps, {(steered is null ? $"guidance {request.Guidance}" : $"classifier guidance {steered}")}, seed {request.Seed})"));
            return 0;

            void Look()
            {
                judge.Look(
                    [.. waiting.Select(i => i.Pixels)],
                    (index, _, likeliest) =>
                    {
                        if (likeliest == waiting[index].Class) agreed[likeliest]++;
                    },
                    cancellation);
                waiting.Clear();
            }
        });
        return command;
    }
}
