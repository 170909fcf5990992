using System.Text;
using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Samplers;

namespace DiffusionCore.Tests.Samplers;

/// <summary>One run of a peer's scheduler: its configuration, what was asked of it and what came out.</summary>
public sealed class SchedulerCase
{
    /// <summary>The class whose runs need the noise of the peer's Brownian tree; its cases are listed as skipped.</summary>
    public const string Brownian = "DPMSolverSDEScheduler";

    /// <summary>Cases of one call with several timesteps, which have a test of their own.</summary>
    public const string BatchStep = "/batch_step_no_noise";

    private static readonly Dictionary<string, JsonElement> Files = new(StringComparer.Ordinal);

    private SchedulerCase(JsonElement json, string configField)
    {
        Json = json;
        Class = json.GetProperty("scheduler").GetString()!;
        Config = ReadConfig(Class, json.GetProperty(configField));
    }

    public JsonElement Json { get; }

    public string Class { get; }

    public SchedulerConfig Config { get; }

    public static bool Exists(string className) => SchedulerConfig.Classes.Contains(className);

    public static JsonElement File(string name)
    {
        lock (Files)
        {
            if (!Files.TryGetValue(name, out var root)) Files[name] = root = JsonDocument.Parse(System.IO.File.ReadAllBytes(ConformanceData.PathOf(name))).RootElement;
            return root;
        }
    }

    /// <summary>Names of the cases whose class exists.</summary>
    public static TheoryData<string> Names(string file)
    {
        var names = new TheoryData<string>();
        if (ConformanceData.Folder is null) return names;
        foreach (var c in File(file).GetProperty("cases").EnumerateArray())
        {
            string name = c.GetProperty("name").GetString()!;
            if (c.GetProperty("scheduler").GetString() != Brownian && !name.EndsWith(BatchStep, StringComparison.Ordinal)) names.Add(name);
        }

        return names;
    }

    public static SchedulerCase Load(string file, string name)
    {
        foreach (var c in File(file).GetProperty("cases").EnumerateArray())
        {
            if (c.GetProperty("name").GetString() == name) return new SchedulerCase(c, c.TryGetProperty("overrides", out _) ? "overrides" : "config");
        }

        throw new ArgumentException($"no case {name} in {file}", nameof(name));
    }

    /// <summary>A scheduler_config.json of the given class with the given fields, read as any other.</summary>
    public static SchedulerConfig ReadConfig(string className, JsonElement fields)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartObject();
            writer.WriteString("_class_name", className);
            foreach (var p in fields.EnumerateObject()) p.WriteTo(writer);
            writer.WriteEndObject();
        }

        return SchedulerConfig.Read(ConfigFile.Parse("scheduler_config.json", stream.ToArray()));
    }

    public static SchedulerConfig ReadConfig(string json) => SchedulerConfig.Read(ConfigFile.Parse("scheduler_config.json", Encoding.UTF8.GetBytes(json)));

    /// <summary>The options that the case's set_timesteps and step_kwargs stand for.</summary>
    public SamplerOptions Options(int skipSteps = 0)
    {
        var set = Json.GetProperty("set_timesteps") is { ValueKind: JsonValueKind.Object } given ? given : default;
        var kwargs = Json.GetProperty("step_kwargs");
        double[]? timesteps = Has(set, "timesteps", out var t) ? Doubles(t) : null, sigmas = Has(set, "sigmas", out var s) ? Doubles(s) : null;
        bool flow = Config.FlowSigmas || Class.StartsWith("FlowMatch", StringComparison.Ordinal);
        if (flow && sigmas is not null) sigmas = [.. sigmas, 0];                     // given without the final level there
        return new SamplerOptions
        {
            Steps = Has(set, "num_inference_steps", out var n) ? n.GetInt32() : timesteps?.Length ?? sigmas?.Length - 1 ?? Config.TrainSteps,
            Timesteps = timesteps, Sigmas = sigmas, SkipSteps = skipSteps,
            Eta = kwargs.TryGetProperty("eta", out var eta) ? eta.GetDouble() : null, Order = (int)Number("order", 4), Shift = Has(set, "mu", out var mu) ? mu.GetDouble() : null,
            // UnCLIP's step goes one training step back where it is not told another; the score SDE's norms are means over its batch.
            SingleTrainingSteps = !kwargs.TryGetProperty("prev_timestep", out _), BatchNorms = true,
            UseClippedModelOutput = kwargs.TryGetProperty("use_clipped_model_output", out var u) && u.GetBoolean(),
            Churn = Number("s_churn", 0), ChurnMinimum = Number("s_tmin", 0), ChurnMaximum = Number("s_tmax", double.PositiveInfinity), ChurnNoise = Number("s_noise", 1),
        };

        static bool Has(JsonElement of, string name, out JsonElement value)
        {
            value = default;
            return of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out value);
        }

        double Number(string name, double fallback) => kwargs.TryGetProperty(name, out var v) ? v.GetDouble() : fallback;
    }

    public double[]? Doubles(string name) => Json.TryGetProperty(name, out var e) && e.ValueKind == JsonValueKind.Array ? Doubles(e) : null;

    public static double[] Doubles(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetDouble())];
}
