using System.CommandLine;
using System.Globalization;
using System.Text;
using DiffusionCore.Metrics;
using DiffusionCore.Models;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>dcore evaluate --frechet: samplers times numbers of evaluations, each with its Frechet distance to real images and its seconds per image.</summary>
internal sealed class FrechetOptions
{
    private const string Reference = "test-statistics.safetensors";
    private const string TestImages = "t10k-images-idx3-ubyte", TrainingImages = "train-images-idx3-ubyte";
    private const int MostEvaluations = 10_000;

    // One of each kind of the survey: ancestral, deterministic of first and second order, multistep, and stochastic multistep.
    private static readonly string[] DefaultSamplers = ["ddpm", "ddim", "euler_ancestral", "heun", "kdpm2", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "deis", "sa_solver", "plms"];

    private readonly Option<bool> enabled = new("--frechet") { Description = "Measure the Frechet distance to real images, samplers times numbers of evaluations" };
    private readonly Option<string?> samplers = new("--samplers") { Description = $"Of --frechet, separated by commas [default: {string.Join(',', DefaultSamplers)}]" };
    private readonly Option<string> budgets = new("--nfe") { Description = "Of --frechet: evaluations of the network for one image", DefaultValueFactory = _ => "4,5,6,8,10,15,20,50,100" };
    private readonly Option<int> images = CliOptions.Number("--images", "Of --frechet: images for each distance", 500, FrechetSweep.Batch, GenerateRequest.MaximumCount);
    private readonly Option<string?> schedule = new("--schedule") { Description = "Of --frechet: placement of the steps" };
    private readonly Option<string?> resume = new("--resume") { Description = "Of --frechet: file that keeps what is measured; with it a sweep goes on where it was ended" };
    private readonly Option<string?> plot = new("--plot") { Description = "Of --frechet: SVG of distance over time" };
    private readonly Option<string?> reference = new("--reference") { Description = $"Of --frechet: statistics of real images; without it {Reference} in the classifier's folder" };
    private readonly Option<string?> makeReference = new("--make-reference") { Description = "Folder with the IDX files of the data: write the statistics of its test images to --reference, and say how far as many training images as --images are from them" };
    private readonly Option<bool> force = CliOptions.Force();

    public IEnumerable<Option> All => [enabled, samplers, budgets, images, schedule, resume, plot, reference, makeReference, force];

    /// <summary>Whether this command line asks for it.</summary>
    /// <param name="ofImages">Options of the command that say how images are made.</param>
    /// <exception cref="UsageException">It does not, and has an option of it; or an option of images where none are made.</exception>
    public bool Asked(ParseResult p, params Option[] ofImages)
    {
        if (p.GetValue(makeReference) is not null)
        {
            foreach (var option in (Option[])[samplers, budgets, schedule, resume, plot, .. ofImages])
                if (p.GetResult(option) is { Implicit: false }) throw new UsageException($"{option.Name} does not go with --make-reference, which makes no images");
            return true;
        }

        if (p.GetValue(enabled)) return true;
        foreach (var option in All)
            if (option != enabled && p.GetResult(option) is { Implicit: false }) throw new UsageException($"{option.Name} needs --frechet");
        return false;
    }

    public int Run(ParseResult p, ModelFolder folder, string classifierPath, ImageClassifier network, Device device, double guidance, ulong seed, bool json, CancellationToken cancellation)
    {
        string statistics = p.GetValue(reference) ?? Path.Combine(classifierPath, Reference);
        using var judge = new ImageJudge(network, device);
        if (p.GetValue(makeReference) is { } data) return Make(p, data, statistics, judge, network, json, cancellation);
        var real = FeatureStatistics.Load(statistics);
        if (real.Dimension != judge.Features) throw new ModelFileException(statistics, null, $"expected {judge.Features} features as the classifier has, found {real.Dimension}");
        string[] names = p.GetValue(samplers)?.Split(',', StringSplitOptions.TrimEntries) ?? DefaultSamplers;
        int[] asked = Budgets(p.GetValue(budgets)!);
        int count = p.GetValue(images);
        if (p.GetValue(plot) is { } picture) AtomicFile.Check(picture, p.GetValue(force));
        using var pipeline = new GeneratePipeline(folder, device);
        var sweep = new FrechetSweep(folder, pipeline, judge, real) { Guidance = guidance, Seed = seed, Schedule = p.GetValue(schedule) };
        var todo = (from name in names from budget in asked select (Name: name, Budget: budget, Taken: sweep.Within(name, budget))).ToList();
        var state = new FrechetState(p.GetValue(resume), string.Create(CultureInfo.InvariantCulture, $"{folder.Name}, guidance {guidance}, seed {seed}, schedule {p.GetValue(schedule) ?? "default"}, reference of {real.Count}"));
        using (var progress = new ProgressLine())
        {
            foreach (var (name, budget, taken) in todo)
            {
                if (taken is null)
                {
                    CommandLine.Note($"{name} has no run of {budget} evaluations");
                    continue;
                }

                if (state.Find(name, budget, count) is null) state.Add(sweep.Measure(name, budget, taken.Value, count, progress.Report, cancellation));
            }
        }

        if (p.GetValue(plot) is { } path) AtomicFile.Write(path, p.GetValue(force), stream => stream.Write(Encoding.UTF8.GetBytes(FrechetPlot.Svg(state.Cells))));
        if (json) Json(state.Cells, real, guidance, seed);
        else Print(state.Cells);
        return 0;
    }

    private static int[] Budgets(string text)
    {
        var numbers = new List<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int n) || n < 1 || n > MostEvaluations)
                throw new UsageException($"--nfe: expected whole numbers from 1 to {MostEvaluations} separated by commas, found '{part}'");
            numbers.Add(n);
        }

        return [.. numbers];
    }

    private int Make(ParseResult p, string data, string target, ImageJudge judge, ImageClassifier network, bool json, CancellationToken cancellation)
    {
        AtomicFile.Check(target, p.GetValue(force));
        int size = network.Config.SampleSize;
        var test = Of(IdxImages.Read(data, TestImages, size), judge, cancellation);
        var training = Of(IdxImages.Read(data, TrainingImages, size).Take(p.GetValue(images)).ToList(), judge, cancellation);
        double floor = FrechetDistance.Between(test, training);
        test.Write(target, $"features of {test.Count} real images ({TestImages})", p.GetValue(force));
        if (json)
        {
            JsonOut.Write(w =>
            {
                w.WriteString("reference", target);
                w.WriteNumber("reference_images", test.Count);
                w.WriteNumber("training_images", training.Count);
                w.WriteNumber("distance", floor);
            });
        }
        else
        {
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"wrote {target} ({test.Count} images, {test.Dimension} features); {training.Count} real training images are {floor:F3} away from them"));
        }

        return 0;
    }

    private static FeatureStatistics Of(List<byte[]> pixels, ImageJudge judge, CancellationToken cancellation)
    {
        var features = new FeatureAccumulator(judge.Features);
        judge.Look(pixels, (_, vector, _) => features.Add(vector), cancellation);
        return features.Finish();
    }

    private static void Json(IReadOnlyList<FrechetCell> cells, FeatureStatistics real, double guidance, ulong seed)
    {
        var front = FrechetCell.Front(cells).ToHashSet();
        JsonOut.Write(w =>
        {
            w.WriteNumber("reference_images", real.Count);
            w.WriteNumber("features", real.Dimension);
            w.WriteNumber("guidance", guidance);
            w.WriteNumber("seed", seed);
            w.WriteStartArray("cells");
            foreach (var c in cells)
            {
                w.WriteStartObject();
                w.WriteString("sampler", c.Sampler);
                w.WriteNumber("nfe", c.Asked);
                w.WriteNumber("evaluations", c.Evaluations);
                w.WriteNumber("images", c.Images);
                w.WriteNumber("distance", c.Distance);
                w.WriteNumber("seconds_per_image", c.Seconds);
                w.WriteNumber("agreement", c.Agreement);
                w.WriteBoolean("pareto", front.Contains(c));
                w.WriteEndObject();
            }

            w.WriteEndArray();
        });
    }

    private static void Print(IReadOnlyList<FrechetCell> cells)
    {
        int[] asked = [.. cells.Select(c => c.Asked).Distinct().Order()];
        var table = Tables.New(["sampler", .. asked.Select(n => string.Create(CultureInfo.InvariantCulture, $">{n}"))]);
        foreach (var sampler in cells.GroupBy(c => c.Sampler))
            table.Row([sampler.Key, .. asked.Select(n => sampler.LastOrDefault(c => c.Asked == n) is { } c ? string.Create(CultureInfo.InvariantCulture, $"{c.Distance:F2}") : "-")]);
        table.Print();
        Console.Out.WriteLine("Pareto front:");
        foreach (var c in FrechetCell.Front(cells))
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {c.Sampler}, {c.Evaluations} evaluations: distance {c.Distance:F2}, {c.Seconds * 1e3:F1} ms per image, agreement {100 * c.Agreement:F1} %, {c.Images} images"));
    }
}
