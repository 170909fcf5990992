using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using DiffusionCore.Metrics;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Shortcuts;

namespace DiffusionCore.Cli;

/// <summary>dcore evaluate --shortcuts: what each shortcut gains, and how far it leads from the image of the whole run.</summary>
internal sealed class ShortcutEvaluation
{
    private const double BytesPerUnit = 255;
    private const int EncoderKeysPer = 50;
    private static readonly int[] EncoderKeys = [0, 1, 2, 3, 5, 10, 15, 25, 35];      // of 50, as the paper has them

    private readonly Option<bool> asked = new("--shortcuts") { Description = "A table of shortcuts in place of classes: speed-up, distance from the image without them, agreement. With --deepcache and its like only that one" };
    private readonly Option<string?> size = new("--size") { Description = "With --shortcuts: WIDTHxHEIGHT; without it the model's own" };
    private readonly ShortcutCliOptions given = new();

    public void AddTo(Command command)
    {
        command.Add(asked);
        command.Add(size);
        given.AddTo(command);
    }

    /// <exception cref="UsageException">An option of --shortcuts without it.</exception>
    public bool Asked(ParseResult p)
    {
        if (p.GetValue(asked)) return true;
        if (!given.Read(p).None || p.GetValue(size) is not null) throw new UsageException("evaluate: --size, --deepcache, --tome, --tgate, --reuse-encoder and --coarse go with --shortcuts");
        return false;
    }

    /// <param name="judge">Null where there is no classifier for this model.</param>
    /// <param name="request">Without shortcuts. Of models that work on latents the time alone is taken, and their images are not decoded.</param>
    public int Run(ParseResult p, ModelFolder folder, Device device, GenerateRequest request, ImageJudge? judge, bool json, CancellationToken cancellation)
    {
        bool images = folder.FirstStage is null;
        if (CliOptions.ParseSize(p.GetValue(size)) is { } wanted) request = request with { Width = wanted.Width, Height = wanted.Height };
        if (folder.TakesText) request = request with { Prompt = "a lighthouse in fog" };
        using var pipeline = new GeneratePipeline(folder, device);
        var own = given.Read(p);
        List<(string Name, GenerateRequest Request)> runs = [("none", request), .. own.None ? Usual(pipeline, request) : [(own.ToString(), request with { Shortcuts = own })]];
        // The first evaluations compile code and bring weights into their forms.
        Measure(pipeline, request with { Count = 1, Options = request.Options with { Steps = 1 } }, images, null, cancellation);
        var rows = new List<Row>();
        Row? whole = null;
        using (var progress = new ProgressLine())
        {
            foreach (var (name, run) in runs)
            {
                Row row;
                try
                {
                    row = Measure(pipeline, run, images, progress, cancellation) with { Name = name };
                }
                catch (UsageException e) when (whole is not null && own.None)
                {
                    row = new Row(name, 0, 0, [], []) { Refused = e.Message };
                }

                whole ??= row;
                rows.Add(row);
            }
        }

        if (json) Json(folder, request, rows, whole!, judge);
        else Print(folder, request, rows, whole!, judge, images);
        return 0;
    }

    // What the README's table has. Levels are those that the model attends at, found by asking.
    private static IEnumerable<(string, GenerateRequest)> Usual(GeneratePipeline pipeline, GenerateRequest request)
    {
        var plan = pipeline.Plan(request);
        int calls = plan.Evaluations.Count(e => e.Evaluates);
        int[] keys = [.. EncoderKeys.Select(k => k < 4 ? k : Math.Max(4, k * calls / EncoderKeysPer)).Where(k => k < calls).Distinct()];
        List<ShortcutOptions> all =
        [
            new() { DeepCache = new DeepCacheOptions(2) }, new() { DeepCache = new DeepCacheOptions(3) }, new() { DeepCache = new DeepCacheOptions(5) }, new() { DeepCache = new DeepCacheOptions(3, 1) },
            new() { DeepCache = new DeepCacheOptions(3) { Quadratic = true } }, new() { EncoderKeys = new EquatableList<int>(keys) },
            new() { Merging = new TokenMergingOptions(0.5, pipeline.Model.TakesText ? [0] : [0, 1, 2, 3]) }, new() { GateStep = Math.Max(1, calls * 2 / 5) }, new() { Coarse = new CoarseStepsOptions(Math.Max(1, plan.Steps / 3)) },
        ];
        foreach (var shortcuts in all) yield return (shortcuts.ToString(), request with { Shortcuts = shortcuts });
        if (!pipeline.Guided(request, pipeline.Plan(request))) yield break;
        double Level(double share) => plan.Evaluations[(int)(share * (plan.Evaluations.Count - 1))].Level;
        var interval = (Low: Level(0.8), High: Level(0.2));
        yield return (string.Create(CultureInfo.InvariantCulture, $"guidance-interval {interval.Low:G3},{interval.High:G3}"), request with { GuidanceInterval = interval });
    }

    private static Row Measure(GeneratePipeline pipeline, GenerateRequest request, bool images, ProgressLine? progress, CancellationToken cancellation)
    {
        var seconds = 0.0;
        int evaluations = 0;
        var made = new List<GeneratedImage>();
        int calls = pipeline.Plan(request).Evaluations.Count + (request.Shortcuts.Coarse?.Steps ?? 0);
        try
        {
            pipeline.Generate(
                request, made.Add,
                r =>
                {
                    seconds += r.EvaluationTime.TotalSeconds;
                    evaluations++;
                    progress?.Report(r);
                    if (!images && evaluations == calls) throw new LatentsDone();
                },
                cancellation);
        }
        catch (LatentsDone)
        {
            // Decoding would take its time and say nothing about the denoiser.
        }

        return new Row("", seconds, evaluations, [.. made.Select(i => i.Pixels)], [.. made.Select(i => i.Class)]);
    }

    private static void Print(ModelFolder folder, GenerateRequest request, List<Row> rows, Row whole, ImageJudge? judge, bool images)
    {
        var table = images ? Tables.New("shortcut", ">ms/evaluation", ">speed-up", ">rms/255", ">PSNR dB", judge is null ? ">" : ">agreed") : Tables.New("shortcut", ">ms/evaluation", ">speed-up");
        foreach (var r in rows)
        {
            if (r.Refused is { } why)
            {
                Console.Error.WriteLine($"dcore: {r.Name}: not measured: {why}");
                continue;
            }

            var cells = new List<object> { r.Name, Text(r.Milliseconds, "F2"), Text(whole.Seconds / r.Seconds, "F2") };
            if (images)
            {
                double rms = r.Rms(whole);
                cells.AddRange([Text(rms * BytesPerUnit, "F2"), rms == 0 ? "-" : Text(-20 * Math.Log10(rms), "F1"), judge is null ? "" : $"{r.Agreed(judge)} of {r.Pixels.Length}"]);
            }

            table.Row([.. cells]);
        }

        table.Print();
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{folder.Name}: {request.Count} image{(request.Count == 1 ? "" : "s")}, {request.Options.Steps} steps, guidance {request.Guidance}, seed {request.Seed}"));
    }

    private static void Json(ModelFolder folder, GenerateRequest request, List<Row> rows, Row whole, ImageJudge? judge) => JsonOut.Write(w =>
    {
        w.WriteString("model", folder.Path);
        w.WriteNumber("images", request.Count);
        w.WriteNumber("steps", request.Options.Steps);
        w.WriteNumber("guidance", request.Guidance);
        w.WriteNumber("seed", request.Seed);
        w.WriteStartArray("shortcuts");
        foreach (var r in rows)
        {
            w.WriteStartObject();
            w.WriteString("name", r.Name);
            if (r.Refused is { } why)
            {
                w.WriteString("refused", why);
            }
            else
            {
                w.WriteNumber("ms_per_evaluation", r.Milliseconds);
                w.WriteNumber("speed_up", whole.Seconds / r.Seconds);
                if (r.Pixels.Length > 0)
                {
                    double rms = r.Rms(whole);
                    w.WriteNumber("rms", rms);
                    w.WritePropertyName("psnr_db");
                    JsonOut.Number(w, rms == 0 ? double.PositiveInfinity : -20 * Math.Log10(rms));
                    if (judge is not null) w.WriteNumber("agreed", r.Agreed(judge));
                }
            }

            w.WriteEndObject();
        }

        w.WriteEndArray();
    });

    private static string Text(double v, string format) => v.ToString(format, CultureInfo.InvariantCulture);

    /// <param name="Seconds">In the denoiser, over all evaluations.</param>
    private sealed record Row(string Name, double Seconds, int Evaluations, byte[][] Pixels, int?[] Classes)
    {
        public string? Refused { get; init; }

        public double Milliseconds => Seconds / Evaluations * 1e3;

        public int Agreed(ImageJudge judge)
        {
            int agreed = 0;
            judge.Look(Pixels, (index, _, likeliest) =>
            {
                if (likeliest == Classes[index]) agreed++;
            });
            return agreed;
        }

        /// <summary>Root of the mean squared difference of all pixels; 1 is from black to white.</summary>
        public double Rms(Row whole)
        {
            double sum = 0;
            long count = 0;
            for (int i = 0; i < Pixels.Length; i++)
            {
                for (int k = 0; k < Pixels[i].Length; k++)
                {
                    double d = (Pixels[i][k] - whole.Pixels[i][k]) / BytesPerUnit;
                    sum += d * d;
                }

                count += Pixels[i].Length;
            }

            return Math.Sqrt(sum / count);
        }
    }

    private sealed class LatentsDone : Exception;
}
