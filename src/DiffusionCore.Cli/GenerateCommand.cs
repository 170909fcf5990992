using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using DiffusionCore.Imaging;
using DiffusionCore.Noise;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Schedules;
using DiffusionCore.Text;

namespace DiffusionCore.Cli;

/// <summary>dcore generate.</summary>
internal static class GenerateCommand
{
    private const int DefaultSteps = 50;
    private const double DefaultGuidance = 1.5, DefaultTextGuidance = 7.5;
    private static readonly string[] OtherFormats = [".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jxl"];

    public static Command Create(CancellationToken cancellation)
    {
        var model = CliOptions.Model();
        var prompt = new Option<string?>("--prompt", "-p") { Description = "What to show (text models)" };
        var negative = new Option<string?>("--negative", "-n") { Description = "What guidance leads away from" };
        var promptFile = PromptText.FileOption("--prompt-file", "the prompt");
        var negativeFile = PromptText.FileOption("--negative-file", "the negative prompt");
        var clipSkip = CliOptions.Number("--clip-skip", "Which of the text encoder's last layers is read: 1 the last, 2 the one before (as stable-diffusion-webui counts; with --compat diffusers one less); 0 the model's own", 0, 0, 1000);
        var hires = new HiresSettings();
        var preview = new PreviewSettings();
        var syntax = new Option<string>("--prompt-syntax") { Description = "plain: the text as it stands, cut at the encoder's length. weighted: (word:1.3), [word], BREAK and long prompts", DefaultValueFactory = _ => "plain" };
        var init = new Option<string?>("--init") { Description = "PNG or JPEG to start from" };
        var strength = CliOptions.Real("--strength", "How far --init is taken back: 1 keeps nothing of it", 0.75, 0, 1);
        var mask = new Option<string?>("--mask") { Description = "PNG or JPEG of --init's size: white is made anew, black stays" };
        var vae = new Option<string?>("--vae") { Description = "First stage in place of the model's own: a component folder" };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "Tokenizer folder, for a model without one" };
        var prediction = new Option<string?>("--prediction") { Description = "epsilon or v_prediction, for a single file that does not tell" };
        var lora = CliOptions.Lora();
        var tiling = new Option<bool>("--vae-tiling") { Description = "Decode in tiles: less memory, more time" };
        var control = new Option<string[]>("--control-net") { Description = "ControlNet folder; with several, one --control-image for each", AllowMultipleArgumentsPerToken = false };
        var hint = new Option<string[]>("--control-image") { Description = "What the ControlNet reads: an image of the size that is made", AllowMultipleArgumentsPerToken = false };
        var controlScale = CliOptions.Real("--control-scale", "Multiplies what the ControlNets add", 1, -10, 10);
        var layout = new Option<string?>("--layout") { Description = "JSON file of labels and boxes, for models made from layouts: {\"objects\": [{\"label\": \"dog\", \"box\": [x, y, width, height]}]}, boxes in parts of the image" };
        var lowRes = new Option<string?>("--low-res") { Description = "PNG or JPEG to enlarge (super-resolution models)" };
        var classes = new Option<string?>("--class") { Description = "Class by name or number, several with commas, or 'all': images take them in turn" };
        var count = CliOptions.Number("--count", "Images to make", 1, 1, GenerateRequest.MaximumCount);
        var batch = CliOptions.Number("--batch", "Images per pass; 0 chooses. Changes no pixel", 0, 0, 4096);
        var steps = CliOptions.Number("--steps", "Denoising steps", DefaultSteps, 1, 10_000);
        var sampler = new Option<string?>("--sampler") { Description = $"{string.Join(", ", Sampler.Names)}, {string.Join(", ", Sampler.LevelNames)}; without it the model's own" };
        var schedule = new Option<string?>("--schedule") { Description = string.Join(", ", Sampler.Schedules) };
        var compat = new Option<string?>("--compat") { Description = $"Whose mathematics the names of samplers and schedules stand for: {string.Join(", ", Compatibilities.Names)} (default diffusers)" };
        var sigmas = new Option<string?>("--sigmas") { Description = "Noise levels in place of a schedule, falling, with the final one: 14.6,3.2,0.4,0" };
        var timesteps = new Option<string?>("--timesteps") { Description = "Training steps in place of a schedule, falling: 999,700,300,20" };
        var guidance = new GuidanceCliOptions(DefaultGuidance, DefaultTextGuidance);
        var solver = new SamplerCliOptions();
        var state = new Option<string>("--state") { Description = "Type of the latents between steps: f32, or f64 on the CPU", DefaultValueFactory = _ => "f32" };
        var shortcuts = new ShortcutCliOptions();
        var lowResolution = new LowResolutionCliOptions();
        var classifier = CliOptions.Classifier("Classifier folder for --classifier-guidance; without it the model's own, or the bundled one");
        var steering = CliOptions.ClassifierGuidance();
        var eta = CliOptions.OptionalReal("--eta", "DDIM: 0 deterministic, 1 as noisy as DDPM (default 0); TCD: share of each step that is drawn anew (default 0.3)", 0, 1);
        var seed = new Option<string?>("--seed") { Description = "Seed of the first image; image i has seed+i. -1 or none: random, and said" };
        var noise = new Option<string>("--noise") { Description = "Whose random numbers: torch-cpu, torch-cuda:MULTIPROCESSORS,THREADS of the GPU, or nv", DefaultValueFactory = _ => "torch-cpu" };
        var noiseType = new Option<string>("--noise-dtype") { Description = "Type that is drawn: f32, f64, f16, bf16", DefaultValueFactory = _ => "f32" };
        var seedMode = new Option<string>("--seed-mode") { Description = "per-image: a generator per image, seed+i. batch: one draw for all images", DefaultValueFactory = _ => "per-image" };
        var variation = new Option<string?>("--variation-seed") { Description = "A second seed that the first noise is turned towards" };
        var variationStrength = CliOptions.Real("--variation-strength", "0 is the first seed's noise, 1 the second's", 0, 0, 1);
        var size = new Option<string?>("--size") { Description = "WIDTHxHEIGHT; without it the model's own" };
        var device = CliOptions.Device();
        var threads = CliOptions.Threads();
        var exact = CliOptions.Exact();
        var memory = new Option<string?>("--memory-limit") { Description = "Bytes that the program may take in all, such as 900MB or 2GiB: what does not fit is split, streamed from disk or decoded in tiles, each of which is said, or refused" };
        var grid = new Option<bool>("--grid") { Description = "One picture of all images" };
        var output = new Option<string?>("--output", "-o") { Description = "File, or folder; without it dcore-SEED.png here" };
        var force = CliOptions.Force();
        var finite = new Option<bool>("--check-finite") { Description = "Look for NaN and infinity in the weights first" };
        var variant = new Option<string?>("--variant") { Description = "Weights variant, such as fp16" };
        var json = CliOptions.Json();
        var command = new Command("generate", "Make images. Example: dcore generate --class sneaker --count 16 --grid -o sneakers.png")
        {
            model, prompt, promptFile, negative, negativeFile, syntax, clipSkip, init, strength, mask, vae, tokenizer, prediction, lora, tiling, control, hint, controlScale, layout, lowRes, classes, count, batch, steps, sampler, schedule, compat, sigmas, timesteps, classifier, steering, eta, state, seed, noise, noiseType, seedMode, variation, variationStrength, size, device, threads, exact, memory, grid, output, force, finite, variant, json,
        };
        shortcuts.AddTo(command);
        lowResolution.AddTo(command);
        hires.AddTo(command);
        preview.AddTo(command);
        foreach (var option in guidance.All.Concat(solver.All)) command.Add(option);
        command.SetAction(p =>
        {
            long begun = Stopwatch.GetTimestamp();
            string path = ModelLocator.Resolve(p.GetValue(model));
            string? says = PromptText.Read(p.GetValue(prompt), p.GetValue(promptFile), "--prompt"), against = PromptText.Read(p.GetValue(negative), p.GetValue(negativeFile), "--negative");
            var secondPass = hires.Read(p);
            var shown = preview.Read(p, p.GetValue(force));
            using var folder = ModelFolder.Load(path, new ModelOptions
            {
                Variant = p.GetValue(variant), CheckFinite = p.GetValue(finite), Tokenizer = p.GetValue(tokenizer), Prediction = p.GetValue(prediction), Loras = p.GetValue(lora) ?? [], FirstStage = p.GetValue(vae), ControlNets = p.GetValue(control) ?? [],
                Previews = shown is not null, PreviewStage = preview.Stage(p), Classifier = CliOptions.ClassifierOf(p.GetValue(classifier), p.GetValue(steering), path),
            });
            if (p.GetValue(classifier) is not null && p.GetValue(steering) is null) throw new UsageException("--classifier: say how strongly with --classifier-guidance");
            var wanted = CliOptions.ParseSize(p.GetValue(size));
            var asked = Classes(folder, p.GetValue(classes));
            var objects = p.GetValue(layout) is { } layoutFile ? LayoutFile.Read(layoutFile) : null;
            bool guides = folder.TakesText || asked.Count > 0 || folder.GuidesItself || objects is not null;
            if (guidance.IsGiven(p) && !guides) CommandLine.Note("--guidance has no effect without --class");
            double? steered = p.GetValue(steering) ?? (asked.Count > 0 && folder is { Classifier: not null, Own: Samplers.Authors.GuidedDiffusion { ClassifierScale: > 0 } natural } ? natural.ClassifierScale : null);
            double weight = steered is not null ? 1 : folder.Own is { } own ? own.Guidance : folder.TakesText ? DefaultTextGuidance : folder.AskedClasses?.NullClass is not null ? DefaultGuidance : 1;
            var guided = guidance.Read(p, weight);
            int colours = folder.ImageChannels == 1 ? 1 : 3;
            double[]? levels = CliLists.Numbers(p.GetValue(sigmas), "--sigmas"), times = CliLists.Numbers(p.GetValue(timesteps), "--timesteps");
            if (p.GetResult(strength) is { Implicit: false } && p.GetValue(init) is null) throw new UsageException("--strength: says how far --init is taken back; give --init, or leave it out");
            if (p.GetResult(controlScale) is { Implicit: false } && (p.GetValue(control) ?? []).Length == 0) throw new UsageException("--control-scale: multiplies what a --control-net adds; give one, or leave it out");
            if (p.GetResult(strength) is { Implicit: false } && p.GetValue(sampler) is { } filling && Sampler.FillsImages(filling)) throw new UsageException($"--strength: {filling} starts from noise and keeps the given part whole; leave it out");
            var request = new GenerateRequest
            {
                Count = p.GetValue(count), Batch = p.GetValue(batch), Seed = CliOptions.ParseSeed(p.GetValue(seed)), Classes = asked,
                Noise = NoiseSettings.Parse(p.GetValue(noise)!, p.GetValue(noiseType)!, p.GetValue(seedMode)!),
                Variation = p.GetValue(variation) is { } second ? new Variation(CliOptions.ParseSeed(second, "--variation-seed"), p.GetValue(variationStrength)) : null,
                Prompt = says ?? "", Negative = against, PromptSyntax = Syntax(p.GetValue(syntax)!), Hires = secondPass, Preview = shown,
                ClipSkip = ClipSkip(folder, p.GetResult(clipSkip) is { Implicit: false } ? p.GetValue(clipSkip) : null, p.GetValue(compat)),
                Init = SourceImages.Read(p.GetValue(init), colours), Mask = SourceImages.Read(p.GetValue(mask), 1), Strength = p.GetValue(strength), Layout = objects, LowResolution = SourceImages.Read(p.GetValue(lowRes), colours),
                Hints = [.. (p.GetValue(hint) ?? []).Select(f => SourceImages.Read(f, 3)!)], ControlScale = p.GetValue(controlScale), Tiled = p.GetValue(tiling),
                Guidance = guides ? guided.Scale : 1, Forms = guides ? guided : guided with { Scales = null, Course = null }, GuidanceInterval = guided.Interval, State = SamplerCliOptions.State(p.GetValue(state)!), Width = wanted?.Width, Height = wanted?.Height, Sampler = p.GetValue(sampler), Schedule = p.GetValue(schedule),
                Options = solver.Add(p, new SamplerOptions
                {
                    Steps = levels?.Length - 1 ?? times?.Length ?? (p.GetResult(steps) is { Implicit: false } ? null : folder.Own?.StepsOf(p.GetValue(sampler))) ?? p.GetValue(steps), Eta = p.GetValue(eta), Sigmas = levels, Timesteps = times,
                    Compatibility = p.GetValue(compat) is { } whose ? Compatibilities.Parse(whose) : Compatibility.Diffusers,
                }, p.GetValue(sampler)),
                ClassifierGuidance = steered, MemoryLimit = CliOptions.ParseBytes(p.GetValue(memory)), Shortcuts = shortcuts.Read(p),
            };
            using var opened = CliOptions.OpenDevice(p.GetValue(device)!, p.GetValue(threads), p.GetValue(exact));
            return Generate(folder, lowResolution.Read(p, request), opened, begun, p.GetValue(output), preview.File(p), Additions(p.GetValue(lora), p.GetValue(vae), p.GetValue(control), request.ControlScale), p.GetValue(grid), p.GetValue(force), p.GetValue(json), cancellation);
        });
        return command;
    }

    // diffusers counts the layers that are left out: of SDXL's beyond the one that it always leaves out.
    private static int? ClipSkip(ModelFolder folder, int? given, string? compat) => given is not { } n || (n == 0 && compat is not "diffusers")
        ? null
        : compat is "diffusers" ? n + (folder.ReadsPenultimate ? 2 : 1) : n;

    private static PromptSyntax Syntax(string name) => name switch
    {
        "plain" => PromptSyntax.Plain,
        "weighted" => PromptSyntax.Weighted,
        _ => throw new UsageException($"--prompt-syntax: expected plain or weighted, found '{name}'"),
    };

    /// <summary>Class numbers of "sneaker", "0,3", "all" or nothing.</summary>
    internal static IReadOnlyList<int> Classes(ModelFolder folder, string? given)
    {
        if (given is null) return [];
        if (folder.AskedClasses is not { } names) throw new UsageException($"--class: {folder.Name} is not conditioned on classes");
        if (given.Equals("all", StringComparison.OrdinalIgnoreCase)) return [.. Enumerable.Range(0, names.Names.Count).Where(i => i != names.NullClass)];
        return [.. given.Split(',', StringSplitOptions.TrimEntries).Select(names.Find)];
    }

    private static int Generate(ModelFolder folder, GenerateRequest request, Device device, long begun, string? output, string? previewFile, string additions, bool grid, bool force, bool json, CancellationToken cancellation)
    {
        using var pipeline = new GeneratePipeline(folder, device) { Note = CommandLine.Note };
        var sampler = pipeline.Plan(request);
        var second = request.Hires is null ? null : pipeline.SecondPlan(request);
        if (grid) CheckGrid(request.Hires is null ? pipeline.Size(request) : pipeline.HiresSize(request), request.Count);
        var names = new OutputNames(output, request, grid);
        ulong last = request.Seed + (ulong)request.Count - 1;
        if (last > long.MaxValue) throw new UsageException($"--seed: the last of {request.Count} images would have seed {last}; the largest is {long.MaxValue}");
        foreach (string file in names.All())
        {
            AtomicFile.Check(file, force);
            if (previewFile is not null && Path.GetFullPath(file) == Path.GetFullPath(previewFile)) throw new UsageException($"--preview: {previewFile} is the name of a finished image; give the preview another");
        }

        AtomicFile.CheckFolder(names.Of(0));
        CommandLine.Note($"{folder.Name}: {string.Join("; ", folder.Accounts)}; {request.Count} image{(request.Count == 1 ? "" : "s")}, {sampler.Name}, {sampler.Steps} step{(sampler.Steps == 1 ? "" : "s")}, seed {request.Seed}");
        if (second is not null) CommandLine.Note($"second pass: {Taken(second)} step{(Taken(second) == 1 ? "" : "s")} at {pipeline.HiresSize(request).Width}x{pipeline.HiresSize(request).Height} by {request.Hires!.Upscaler.Name}");
        if (pipeline.PreviewSource(request) is { } source) CommandLine.Note($"previews every {request.Preview!.Every} step{(request.Preview.Every == 1 ? "" : "s")} in {previewFile}, made by {source}");

        var codec = new StbCodec();
        var kept = new List<Image>();
        var written = new List<(string File, GeneratedImage? Image)>();
        double? load = null;
        long start = Stopwatch.GetTimestamp();
        using (var progress = new ProgressLine())
        {
            pipeline.Generate(
                request,
                image =>
                {
                    var picture = new Image(image.Width, image.Height, image.Channels, image.Pixels);
                    if (grid)
                    {
                        kept.Add(picture);
                        return;
                    }

                    Save(names.Of(image.Index), picture, Parameters(folder, request, sampler, image.Index, image.Seed, image.Class is { } c ? ClassName(folder, c) : null, pipeline.Size(request), additions, null));
                    written.Add((names.Of(image.Index), image));
                },
                p =>
                {
                    load ??= (Stopwatch.GetElapsedTime(begun) - p.EvaluationTime).TotalSeconds;
                    progress.Report(p);
                },
                cancellation);
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        if (grid)
        {
            int columns = (int)Math.Ceiling(Math.Sqrt(kept.Count));
            string? shown = request.Classes.Count == 1 ? ClassName(folder, request.Classes[0]) : request.Classes.Count > 1 ? string.Join("|", request.Classes.Select(c => ClassName(folder, c))) : null;
            Save(names.Of(0), Image.Grid(kept, columns), Parameters(folder, request, sampler, null, request.Seed, shown, pipeline.Size(request), additions, $"{columns}x{(kept.Count + columns - 1) / columns}"));
            written.Add((names.Of(0), null));
        }

        CommandLine.Note(string.Create(CultureInfo.InvariantCulture, $"{request.Count} image{(request.Count == 1 ? "" : "s")} in {seconds:F1} s, {request.Count / seconds:F2} images/s"));
        if (json) WriteJson(folder, request, sampler, device, written, load, seconds, pipeline.NetworkEvaluations);
        else foreach (var (file, _) in written) Console.Out.WriteLine(file);
        return 0;

        void Save(string file, Image picture, string parameters) =>
            AtomicFile.Write(file, force, stream => codec.EncodePng(picture, stream, [("parameters", parameters)]));
    }

    // Files beside the model that have a part in the picture, by their names alone: where they lie is nobody else's business.
    private static string Additions(string[]? loras, string? vae, string[]? controls, double scale)
    {
        var text = new System.Text.StringBuilder();
        if (loras is { Length: > 0 }) text.Append(", Lora: ").AppendJoin('|', loras.Select(Path.GetFileName));
        if (vae is not null) text.Append(", VAE: ").Append(Name(vae));
        if (controls is { Length: > 0 }) text.Append(", ControlNet: ").AppendJoin('|', controls.Select(Name)).Append(CultureInfo.InvariantCulture, $", ControlNet scale: {scale}");
        return text.ToString();

        static string Name(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(folder));
    }

    // Steps that are run, of a plan that may leave the first ones out.
    private static int Taken(SamplerPlan plan) => plan.Evaluations.Count > 0 ? plan.Evaluations.Select(e => e.Step).Distinct().Count() : plan.Steps;

    // A grid is held in memory until the last image is there.
    private static void CheckGrid((int Height, int Width) one, int count)
    {
        long side = (long)Math.Ceiling(Math.Sqrt(count));
        if (side * one.Width * side * one.Height > ImageLimits.MaximumPixels)
            throw new UsageException($"--grid: {count} images of {one.Width}x{one.Height} make a picture of more than {ImageLimits.MaximumPixels} pixels; use a smaller --count, or no --grid");
    }

    private static string ClassName(ModelFolder folder, int c) => c < folder.AskedClasses!.Names.Count ? folder.AskedClasses.Names[c] : c.ToString(CultureInfo.InvariantCulture);

    /// <summary>The text that viewers of this field read: prompt, then comma-separated settings.</summary>
    private static string Parameters(ModelFolder folder, GenerateRequest request, SamplerPlan sampler, int? index, ulong seed, string? className, (int Height, int Width) first, string additions, string? grid) =>
        string.Create(CultureInfo.InvariantCulture, $"{(folder.TakesText ? request.Prompt : className ?? "")}{(request.Negative is { } n ? $"\nNegative prompt: {n}" : "")}\nSteps: {sampler.Steps}, Sampler: {sampler.Name}, Schedule type: {request.Schedule ?? "default"}, {GuidanceCliOptions.Described(request)}, Seed: {seed}, Size: {first.Width}x{first.Height}, Model: {folder.Name}{additions}{(className is null ? "" : $", Class: {className}")}{(request.ClassifierGuidance is { } c ? $", Classifier guidance: {c}" : "")}{(request.Init is null ? "" : $", Denoising strength: {request.Strength}")}{Hires(request)}{(request.ClipSkip is { } skip ? $", Clip skip: {skip}" : "")}{(request.Mask is null ? "" : ", Mask: yes")}{(request.Options.Eta is null ? "" : $", Eta: {request.Options.Eta}")}{(request.Options.Compatibility == Compatibility.Diffusers ? "" : $", Compat: {Compatibilities.Names[(int)request.Options.Compatibility]}")}, Noise: {request.Noise}{(request.Noise.Seeds == SeedMode.Batch ? $" for {request.Count} images" : "")}{(index is { } at && request.Noise.Seeds == SeedMode.Batch ? $", Image: {at + 1}" : "")}{(request.Variation is { } v ? $", Variation seed: {v.Seed}, Variation seed strength: {v.Strength}" : "")}{(request.Shortcuts.None ? "" : $", Shortcuts: {request.Shortcuts}")}{(grid is null ? "" : $", Grid: {grid}")}, Version: DiffusionCore {CommandLine.Version}");

    // As stable-diffusion-webui writes it.
    private static string Hires(GenerateRequest request) => request.Hires is not { } h ? "" : string.Create(
        CultureInfo.InvariantCulture,
        $", Denoising strength: {h.Strength}, {(h.Width is { } w ? $"Hires resize: {w}x{h.Height}" : $"Hires upscale: {h.Scale}")}{(h.Steps is { } n ? $", Hires steps: {n}" : "")}, Hires upscaler: {h.Upscaler.Name}");

    private static void WriteJson(ModelFolder folder, GenerateRequest request, SamplerPlan sampler, Device device, List<(string File, GeneratedImage? Image)> written, double? load, double seconds, long evaluations) => JsonOut.Write(w =>
    {
        w.WriteString("model", folder.Path);
        w.WriteString("device", device.Name);
        w.WriteString("sampler", sampler.Name);
        w.WriteNumber("steps", sampler.Steps);
        if (evaluations % request.Count == 0) w.WriteNumber("evaluations", evaluations / request.Count);       // of the network, for one image
        else w.WriteNumber("evaluations", (double)evaluations / request.Count);
        w.WriteString("state", request.State.ToString().ToLowerInvariant());
        w.WriteNumber("guidance", request.Guidance);
        w.WriteString("guidance_form", GuidanceCliOptions.Described(request));
        if (request.ClassifierGuidance is { } steered) w.WriteNumber("classifier_guidance", steered);
        if (folder.TakesText) w.WriteString("prompt", request.Prompt);
        if (request.Negative is { } negative) w.WriteString("negative", negative);
        if (request.Init is not null) w.WriteNumber("strength", request.Strength);
        if (!request.Shortcuts.None) w.WriteString("shortcuts", request.Shortcuts.ToString());
        if (request.ClipSkip is { } skip) w.WriteNumber("clip_skip", skip);
        if (request.Hires is { } hires)
        {
            w.WriteNumber("hires_strength", hires.Strength);
            w.WriteString("hires_upscaler", hires.Upscaler.Name);
        }

        w.WriteNumber("seed", request.Seed);
        w.WriteString("noise", request.Noise.Name);
        w.WriteString("noise_dtype", request.Noise.Type.ToString().ToLowerInvariant());
        w.WriteString("seed_mode", request.Noise.Seeds == SeedMode.Batch ? "batch" : "per-image");
        if (request.Variation is { } v)
        {
            w.WriteNumber("variation_seed", v.Seed);
            w.WriteNumber("variation_strength", v.Strength);
        }

        w.WriteNumber("count", request.Count);
        if (load is { } before) w.WriteNumber("load_seconds", before);       // from opening the model to the first evaluation of the network
        w.WriteNumber("seconds", seconds);
        w.WriteNumber("images_per_second", request.Count / seconds);
        w.WriteStartArray("images");
        foreach (var (file, image) in written)
        {
            w.WriteStartObject();
            w.WriteString("file", Path.GetFullPath(file));
            if (image is not null)
            {
                w.WriteNumber("seed", image.Seed);
                if (image.Class is { } c) w.WriteString("class", ClassName(folder, c));
                w.WriteNumber("width", image.Width);
                w.WriteNumber("height", image.Height);
            }

            w.WriteEndObject();
        }

        w.WriteEndArray();
    });

    /// <summary>Where each image goes.</summary>
    private sealed class OutputNames(string? output, GenerateRequest request, bool grid)
    {
        private readonly bool single = grid || request.Count == 1;
        private readonly string? output = output is null || Directory.Exists(output) || !OtherFormats.Contains(Path.GetExtension(output).ToLowerInvariant())
            ? output
            : throw new UsageException($"--output: images are written as PNG; expected a name that ends in .png, found '{output}'");

        public IEnumerable<string> All() => single ? [Of(0)] : Enumerable.Range(0, request.Count).Select(Of);

        public string Of(int index)
        {
            string own = $"dcore-{unchecked(request.Seed + (ulong)index)}.png";
            if (output is null) return own;
            if (Directory.Exists(output) || output.EndsWith('/') || output.EndsWith(Path.DirectorySeparatorChar)) return Path.Combine(output, own);
            if (single) return output;
            string extension = Path.GetExtension(output);
            return string.Create(CultureInfo.InvariantCulture, $"{output[..^extension.Length]}-{index + 1:D5}{(extension.Length > 0 ? extension : ".png")}");
        }
    }
}

/// <summary>One JSON document on stdout.</summary>
internal static class JsonOut
{
    public static void Write(Action<Utf8JsonWriter> fields)
    {
        using var buffer = new MemoryStream();
        using (var w = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            w.WriteStartObject();
            fields(w);
            w.WriteEndObject();
        }

        Console.Out.WriteLine(System.Text.Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length));
        Console.Out.Flush();
    }

    /// <summary>A number, or a string where JSON has no number for it.</summary>
    public static void Number(Utf8JsonWriter w, double v)
    {
        if (double.IsFinite(v)) w.WriteNumberValue(v);
        else w.WriteStringValue(double.IsNaN(v) ? "nan" : v > 0 ? "inf" : "-inf");
    }
}
