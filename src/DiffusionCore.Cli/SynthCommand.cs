using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using DiffusionCore.Runtime;
using DiffusionCore.Synthesis;
using DiffusionCore.Weights;

namespace DiffusionCore.Cli;

/// <summary>dcore synth: a model of a well-known size whose weights are random numbers.</summary>
internal static class SynthCommand
{
    private static readonly Dictionary<string, StorageType> Types = new(StringComparer.OrdinalIgnoreCase) { ["f16"] = StorageType.F16, ["bf16"] = StorageType.BF16, ["f32"] = StorageType.F32 };

    public static Command Create(CancellationToken cancellation)
    {
        var preset = new Argument<string?>("PRESET") { Description = string.Join(", ", SynthPreset.Names), Arity = ArgumentArity.ZeroOrOne };
        var output = new Option<string?>("--output", "-o") { Description = "Folder to write; must not exist" };
        var list = new Option<bool>("--list") { Description = "Write nothing; say what there is" };
        var seed = new Option<string?>("--seed") { Description = "The same seed gives the same weights", DefaultValueFactory = _ => "0" };
        var dtype = new Option<string>("--dtype") { Description = "f16, bf16 or f32", DefaultValueFactory = _ => "f16" };
        var json = CliOptions.Json();
        var command = new Command("synth", "Write a full-size model folder with random weights, to measure speed and memory without the real ones") { preset, output, list, seed, dtype, json };
        command.SetAction(p =>
        {
            if (p.GetValue(list))
            {
                if (p.GetValue(preset) is not null || p.GetValue(output) is not null) throw new UsageException("--list writes nothing; leave PRESET and --output out");
                List(p.GetValue(json));
                return 0;
            }

            var model = SynthPreset.Find(p.GetValue(preset) ?? throw new UsageException("PRESET is required; dcore synth --list says what there is"));
            string typeName = p.GetValue(dtype)!, folder = p.GetValue(output) ?? throw new UsageException("option '--output' is required");
            if (!Types.TryGetValue(typeName, out var type)) throw new UsageException($"--dtype: '{typeName}' is unknown{Suggestion.Hint(typeName, Types.Keys)}");
            ulong number = CliOptions.ParseSeed(p.GetValue(seed));
            var clock = Stopwatch.StartNew();
            using (var line = new ByteProgress()) SynthModel.Write(model, folder, number, type, line.Report, cancellation);
            double seconds = clock.Elapsed.TotalSeconds, bytes = model.Parameters * (type.Bits() / 8.0);
            if (p.GetValue(json))
            {
                JsonOut.Write(w =>
                {
                    w.WriteString("preset", model.Name);
                    w.WriteString("path", folder);
                    w.WriteString("dtype", type.FileName());
                    w.WriteNumber("seed", number);
                    w.WriteNumber("parameters", model.Parameters);
                    w.WriteNumber("bytes", bytes);
                    w.WriteNumber("seconds", seconds);
                    w.WriteStartArray("components");
                    foreach (var c in model.Components)
                    {
                        w.WriteStartObject();
                        w.WriteString("name", c.Folder);
                        w.WriteString("class", c.Class);
                        w.WriteNumber("tensors", c.Tensors.Count);
                        w.WriteNumber("parameters", c.Parameters);
                        w.WriteEndObject();
                    }

                    w.WriteEndArray();
                });
                return 0;
            }

            foreach (var c in model.Components) Console.Out.WriteLine($"{c.Folder} ({c.Class}): {c.Tensors.Count} tensors, {Tables.Si(c.Parameters)}parameters");
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{folder}: {model.Name}, {type.FileName()}, seed {number}, {Tables.Bytes(bytes)} in {seconds:F1} s"));
            return 0;
        });
        return command;
    }

    private static void List(bool json)
    {
        if (!json)
        {
            foreach (var m in SynthPreset.All) Console.Out.WriteLine($"{m.Name,-18} {m.Pipeline,-26} {string.Join(", ", m.Components.Select(c => $"{c.Folder} {Tables.Si(c.Parameters)}"))}");
            return;
        }

        JsonOut.Write(w =>
        {
            w.WriteStartArray("presets");
            foreach (var m in SynthPreset.All)
            {
                w.WriteStartObject();
                w.WriteString("name", m.Name);
                w.WriteString("pipeline", m.Pipeline);
                w.WriteNumber("parameters", m.Parameters);
                w.WriteStartObject("components");
                foreach (var c in m.Components) w.WriteNumber(c.Folder, c.Parameters);
                w.WriteEndObject();
                w.WriteEndObject();
            }

            w.WriteEndArray();
        });
    }

    /// <summary>One line on a terminal's stderr. Silent where stderr is not a terminal.</summary>
    private sealed class ByteProgress : IDisposable
    {
        private readonly bool shown = !Console.IsErrorRedirected;
        private readonly Lock access = new();
        private int percent = -1;

        public void Report(long done, long total)
        {
            int now = (int)(100 * done / Math.Max(total, 1));
            if (!shown || now <= percent) return;
            lock (access)
            {
                if (now <= percent) return;
                percent = now;
                Console.Error.Write($"\r{now,3} % of {Tables.Bytes(total)}");
            }
        }

        public void Dispose()
        {
            if (shown && percent >= 0) Console.Error.Write("\r                         \r");
        }
    }
}
