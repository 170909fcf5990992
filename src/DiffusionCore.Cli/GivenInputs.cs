using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Cli;

/// <summary>Inputs of a network that are given as numbers on the command line: --set NAME=VALUE.</summary>
internal static class GivenInputs
{
    public static Option<string[]> Option() => new("--set")
    {
        Description = "An input that the file lacks, or another in its place: conditioning_scale=0.75, timesteps=50,90. One number is a scalar, several are a list; whole numbers are I64, others F32 (write 1.0). May be given more than once",
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary>Tensors in.NAME.</summary>
    /// <exception cref="UsageException">Not NAME=NUMBERS, or a name given twice.</exception>
    public static IReadOnlyList<TensorData> Parse(IEnumerable<string> given)
    {
        var tensors = new List<TensorData>();
        foreach (string text in given)
        {
            int at = text.IndexOf('=');
            if (at < 1) throw new UsageException($"--set: expected NAME=VALUE such as conditioning_scale=0.75, found '{text}'");
            string name = text[..at].Trim();
            if (!name.StartsWith("in.", StringComparison.Ordinal)) name = "in." + name;
            if (tensors.Exists(t => t.Name == name)) throw new UsageException($"--set: {name[3..]} is given twice");
            string[] numbers = text[(at + 1)..].Split(',', StringSplitOptions.TrimEntries);
            long[] dims = numbers.Length == 1 ? [] : [numbers.Length];
            if (Array.TrueForAll(numbers, IsWhole))
            {
                long[] whole = Array.ConvertAll(numbers, n => long.Parse(n, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture));
                tensors.Add(new TensorData(name, StorageType.I64, dims, MemoryMarshal.AsBytes(whole.AsSpan()).ToArray()));
                continue;
            }

            float[] real = Array.ConvertAll(numbers, n => float.TryParse(n, NumberStyles.Float, CultureInfo.InvariantCulture, out float v) && float.IsFinite(v)
                ? v
                : throw new UsageException($"--set {name[3..]}: expected a number, found '{n}'"));
            tensors.Add(new TensorData(name, StorageType.F32, dims, MemoryMarshal.AsBytes(real.AsSpan()).ToArray()));
        }

        return tensors;
    }

    private static bool IsWhole(string text) => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _);
}
