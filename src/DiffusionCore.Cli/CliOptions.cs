using System.CommandLine;
using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Options that several commands share, and how their text is read.</summary>
internal static class CliOptions
{
    public static Option<string?> Model() => new("--model", "-m") { Description = "Model folder; without it the bundled model" };

    public static Option<string> Device() => new("--device") { Description = "auto, cpu, cuda[:i], opencl[:i] or ilgpu-cpu", DefaultValueFactory = _ => "auto" };

    public static Option<int> Threads() => Number("--threads", "CPU threads; 0 takes all cores", 0, 0, 1024);

    public static Option<bool> Exact() => new("--exact") { Description = "Convolutions by their own sums, without Winograd: slower, smaller rounding errors" };

    public static Option<bool> Json() => new("--json") { Description = "One JSON document on stdout" };

    public static Option<string[]> Lora() => new("--lora") { Description = "LoRA file to merge, or FILE:STRENGTH; may be given more than once" };

    public static Option<string?> Classifier(string description) => new("--classifier") { Description = description };

    public static Option<double?> ClassifierGuidance() =>
        OptionalReal("--classifier-guidance", "Scale of a classifier's gradient that leads to --class in place of the network's own condition; 0 leads nowhere", 0, 1e6);

    /// <summary>The classifier that guidance asks for: the one that is named, none where the model's file has its own, else the bundled one.</summary>
    public static string? ClassifierOf(string? named, double? guidance, string model) =>
        named ?? (guidance > 0 && model == ModelLocator.Resolve(null) ? ModelLocator.Bundled(ModelLocator.Classifier) : null);

    public static Option<bool> Force() => new("--force") { Description = "Replace existing files" };

    public static Option<int> Number(string name, string description, int fallback, int minimum, int maximum)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => fallback };
        option.CustomParser = result =>
        {
            string text = result.Tokens.Count > 0 ? result.Tokens[^1].Value : "";
            if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int n) && n >= minimum && n <= maximum) return n;
            result.AddError($"{name}: expected a whole number from {minimum} to {maximum}, found '{text}'");
            return 0;
        };
        return option;
    }

    /// <summary>A number that may be left out.</summary>
    public static Option<double?> OptionalReal(string name, string description, double minimum, double maximum) => new(name)
    {
        Description = description,
        CustomParser = result =>
        {
            string text = result.Tokens.Count > 0 ? result.Tokens[^1].Value : "";
            if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double v) && v >= minimum && v <= maximum) return v;
            result.AddError(FormattableString.Invariant($"{name}: expected a number from {minimum} to {maximum}, found '{text}'"));
            return null;
        },
    };

    public static Option<double> Real(string name, string description, double fallback, double minimum, double maximum)
    {
        var option = new Option<double>(name) { Description = description, DefaultValueFactory = _ => fallback };
        option.CustomParser = result =>
        {
            string text = result.Tokens.Count > 0 ? result.Tokens[^1].Value : "";
            if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double v) && v >= minimum && v <= maximum) return v;
            result.AddError(FormattableString.Invariant($"{name}: expected a number from {minimum} to {maximum}, found '{text}'"));
            return 0;
        };
        return option;
    }

    /// <summary>The seed that was asked for, or a fresh one for -1 and none.</summary>
    public static ulong ParseSeed(string? text, string option = "--seed")
    {
        // Random is seeded by the system. A cryptographic generator would make the binary need OpenSSL.
        if (text is null or "-1") return (ulong)Random.Shared.NextInt64(1L << 32);
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long seed)
            ? (ulong)seed
            : throw new UsageException($"{option}: expected a whole number from 0 to {long.MaxValue}, or -1 for a random one, found '{text}'");
    }

    public static (int Width, int Height)? ParseSize(string? text)
    {
        if (text is null) return null;
        string[] parts = text.ToLowerInvariant().Split('x');
        if (parts.Length == 2 && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int w)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int h) && w > 0 && h > 0) return (w, h);
        throw new UsageException($"--size: expected WIDTHxHEIGHT such as 32x32, found '{text}'");
    }

    /// <summary>Bytes: 900MB, 2GiB, 1500000000.</summary>
    public static long? ParseBytes(string? text)
    {
        if (text is null) return null;
        string t = text.Trim().ToUpperInvariant();
        foreach (var (suffix, factor) in new[] { ("GIB", 1L << 30), ("MIB", 1L << 20), ("KIB", 1L << 10), ("GB", 1_000_000_000L), ("MB", 1_000_000L), ("KB", 1_000L), ("G", 1_000_000_000L), ("M", 1_000_000L), ("B", 1L), ("", 1L) })
        {
            if (!t.EndsWith(suffix, StringComparison.Ordinal)) continue;
            if (double.TryParse(t[..^suffix.Length], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double n) && n > 0 && n * factor < long.MaxValue) return (long)(n * factor);
        }

        throw new UsageException($"--memory-limit: expected a size such as 900MB or 2GiB, found '{text}'");
    }

    /// <summary>The device of a name; says what auto chose.</summary>
    public static Device OpenDevice(string name, int threads, bool exact)
    {
        string[] parts = name.Split(':', 2);
        string kind = parts[0];
        if (parts.Length > 1 && kind is "cpu" or "auto" or "ilgpu-cpu") throw new UsageException($"--device: {kind} has no number, found '{name}'");
        if (parts.Length > 1 && kind is "cuda" or "opencl" && !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out _))
            throw new UsageException($"--device: expected a number after '{kind}:', found '{name}'");
        switch (kind)
        {
            case "cpu":
                return new CpuDevice(threads, exact);
            case "auto":
                return OpenBest(threads, exact);
            case "cuda" or "opencl" or "ilgpu-cpu":
                return GpuDevices.Open(kind, parts.Length > 1 ? int.Parse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture) : 0);
            default:
                string[] known = ["auto", "cpu", "cuda", "opencl", "ilgpu-cpu"];
                throw new UsageException($"--device: '{name}' is unknown{Suggestion.Hint(name, known)}");
        }
    }

    // A GPU where there is one that can be opened, else the CPU; says which and why.
    private static Device OpenBest(int threads, bool exact)
    {
        string why = GpuDevices.WhyNone;
        if (GpuDevices.Best is { } best)
        {
            try
            {
                var gpu = best.Open();
                CommandLine.Note($"device {gpu.Name} ({gpu.Description}): the first GPU");
                return gpu;
            }
            catch (DeviceException e)
            {
                why = e.Message;
            }
        }

        var cpu = new CpuDevice(threads, exact);
        CommandLine.Note($"device cpu ({cpu.Description}): {why}");
        return cpu;
    }
}
