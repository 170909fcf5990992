using System.CommandLine;
using System.Globalization;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>What networks that raise the resolution take beside the small image.</summary>
internal sealed class LowResolutionCliOptions
{
    private readonly Option<string?> level = new("--noise-level") { Description = "Training step whose noise is added to --low-res, for networks that are told it" };

    public void AddTo(Command command) => command.Add(level);

    /// <exception cref="UsageException">A level that is no whole number.</exception>
    public GenerateRequest Read(ParseResult p, GenerateRequest request) => p.GetValue(level) is { } text ? request with { NoiseLevel = Level(text) } : request;

    private static int Level(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n : throw new UsageException($"--noise-level: expected a training step, found '{text}'");
}
