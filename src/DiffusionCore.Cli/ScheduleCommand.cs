using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;
using DiffusionCore.Samplers;
using DiffusionCore.Samplers.Schedules;

namespace DiffusionCore.Cli;

/// <summary>dcore schedule.</summary>
internal static class ScheduleCommand
{
    public static Command Create()
    {
        var sampler = new Option<string?>("--sampler") { Description = $"One or several, by commas: {string.Join(", ", Sampler.Names)}, {string.Join(", ", Sampler.LevelNames)}" };
        var schedule = new Option<string?>("--schedule") { Description = $"One or several, by commas: {string.Join(", ", Sampler.Schedules)}" };
        var compat = new Option<string?>("--compat") { Description = $"Whose mathematics names stand for: {string.Join(", ", Compatibilities.Names)} (default diffusers)" };
        var sigmas = new Option<string?>("--sigmas") { Description = "Noise levels, falling, with the final one: 14.6,3.2,0.4,0" };
        var timesteps = new Option<string?>("--timesteps") { Description = "Training steps, falling: 999,700,300,20" };
        var config = new Option<string?>("--config") { Description = "scheduler_config.json; without it the bundled model's" };
        var steps = CliOptions.Number("--steps", "Denoising steps", 50, 1, 10_000);
        var eta = CliOptions.OptionalReal("--eta", "Share of noise: DDIM 0 deterministic, 1 as noisy as DDPM (default 0); ancestral and SDE samplers 1; TCD 0.3", 0, 1);
        var solver = new SamplerCliOptions();
        var plot = new Option<string?>("--plot") { Description = "SVG file: sigma and log-SNR over the steps of every run" };
        var force = CliOptions.Force();
        var json = CliOptions.Json();
        var command = new Command("schedule", "Print a sampler's steps as numbers: x' = X*x + D*denoised + E*eps + H*history + N*noise")
        {
            sampler, schedule, compat, sigmas, timesteps, config, steps, eta, plot, force, json,
        };
        foreach (var option in solver.All) command.Add(option);
        command.SetAction(p =>
        {
            string file = p.GetValue(config) ?? Path.Combine(ModelLocator.Bundled(ModelLocator.DefaultModel), "scheduler", "scheduler_config.json");
            var read = SchedulerConfig.Read(ConfigFile.Load(file));
            double[]? levels = CliLists.Numbers(p.GetValue(sigmas), "--sigmas"), times = CliLists.Numbers(p.GetValue(timesteps), "--timesteps");
            var options = new SamplerOptions
            {
                Steps = levels?.Length - 1 ?? times?.Length ?? p.GetValue(steps), Eta = p.GetValue(eta), Sigmas = levels, Timesteps = times,
                Compatibility = p.GetValue(compat) is { } name ? Compatibilities.Parse(name) : Compatibility.Diffusers,
            };
            var plans = new List<(string Label, SamplerPlan Plan)>();
            foreach (string? s in Split(p.GetValue(sampler)))
            {
                foreach (string? way in Split(p.GetValue(schedule)))
                {
                    var plan = Sampler.Plan(read, solver.Add(p, options, s), s, way);
                    plans.Add((way is null ? plan.Name : $"{plan.Name} {way}", plan));
                }
            }

            if (p.GetValue(plot) is { } target) AtomicFile.Write(target, p.GetValue(force), stream => stream.Write(Encoding.UTF8.GetBytes(SchedulePlot.Svg(plans))));
            if (p.GetValue(json)) JsonOut.Write(w => Json(w, plans));
            else foreach (var (_, plan) in plans) Text(plan);
            return 0;
        });
        return command;
    }

    private static string?[] Split(string? list)
    {
        if (list is null) return [null];
        string[] parts = list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        return parts.Length > 0 ? parts : throw new UsageException("--sampler, --schedule: expected a name or several by commas, found nothing");
    }

    private static void Text(SamplerPlan plan)
    {
        var table = Tables.New(">step", ">time", ">alpha", ">sigma", ">c_in", ">X", ">D", ">E", ">H", ">N");
        foreach (var e in plan.Evaluations)
        {
            table.Row(
                e.Step, e.Evaluates ? $"{e.Time:G7}" : "-", $"{e.Alpha:G7}", $"{e.Sigma:G7}", $"{e.InputScale:G5}", $"{e.X:G7}", $"{e.D:G7}", $"{e.E:G7}",
                string.Join(" ", e.History.Select(h => string.Create(CultureInfo.InvariantCulture, $"{h.Coefficient:G7}*slot{h.Slot}"))), $"{e.N:G7}");
        }

        table.Print();
        Console.Out.WriteLine(plan.Adaptive is null
            ? string.Create(CultureInfo.InvariantCulture, $"{plan.Name}: {plan.Steps} steps, {plan.Evaluations.Count} evaluations, initial sigma {plan.InitialSigma:G7}")
            : string.Create(CultureInfo.InvariantCulture, $"{plan.Name}: chooses its steps as it goes, from sigma {plan.Sigmas![0]:G7} to {plan.Sigmas[^1]:G7}, initial sigma {plan.InitialSigma:G7}"));
    }

    private static void Json(Utf8JsonWriter w, List<(string Label, SamplerPlan Plan)> plans)
    {
        if (plans.Count == 1)
        {
            Fields(w, plans[0].Plan);
            return;
        }

        w.WriteStartArray("plans");
        foreach (var (label, plan) in plans)
        {
            w.WriteStartObject();
            w.WriteString("label", label);
            Fields(w, plan);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    }

    private static void Fields(Utf8JsonWriter w, SamplerPlan plan)
    {
        w.WriteString("sampler", plan.Name);
        w.WriteString("prediction", plan.Prediction.ToString().ToLowerInvariant());
        w.WriteNumber("steps", plan.Steps);
        w.WriteNumber("initial_sigma", plan.InitialSigma);
        w.WriteBoolean("adaptive", plan.Adaptive is not null);
        Array("timesteps", plan.Timesteps);
        if (plan.Sigmas is { } sigmas) Array("sigmas", sigmas);
        Array("alphas", [.. plan.Evaluations.Where(e => e.Evaluates).Select(e => 1 / Math.Sqrt(1 + e.Level * e.Level))]);
        Array("log_snr", [.. plan.Evaluations.Where(e => e.Evaluates).Select(e => -2 * Math.Log(e.Level))]);
        w.WriteStartArray("evaluations");
        foreach (var e in plan.Evaluations)
        {
            w.WriteStartObject();
            w.WriteNumber("step", e.Step);
            foreach (var (name, v) in new[] { ("time", e.Time), ("alpha", e.Alpha), ("sigma", e.Sigma), ("input_scale", e.InputScale), ("x", e.X), ("denoised", e.D), ("eps", e.E), ("noise", e.N) })
            {
                w.WritePropertyName(name);
                JsonOut.Number(w, v);
            }

            w.WriteStartArray("history");
            foreach (var term in e.History)
            {
                w.WriteStartObject();
                w.WriteNumber("slot", term.Slot);
                w.WriteNumber("coefficient", term.Coefficient);
                w.WriteEndObject();
            }

            w.WriteEndArray();
            if (e.Keep != Kept.None) w.WriteString("keep", $"{e.Keep.ToString().ToLowerInvariant()} in slot {e.KeepSlot}");
            if (e.SampleSlot >= 0) w.WriteString("keep_sample", $"slot {e.SampleSlot}");
            if (e.Target is { } target) w.WriteString("target", $"slot {target}");
            if (!e.Evaluates) w.WriteBoolean("network", false);
            w.WriteEndObject();
        }

        w.WriteEndArray();

        void Array(string name, double[] values)
        {
            w.WriteStartArray(name);
            foreach (double v in values) JsonOut.Number(w, v);
            w.WriteEndArray();
        }
    }
}
