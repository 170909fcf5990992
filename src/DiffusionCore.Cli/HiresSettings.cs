using System.CommandLine;
using System.Globalization;
using DiffusionCore.Pipelines;
using DiffusionCore.Runtime;

namespace DiffusionCore.Cli;

/// <summary>Options of the second pass at a higher resolution.</summary>
internal sealed class HiresSettings
{
    private readonly Option<string?> size = new("--hires") { Description = "A second pass at a higher resolution: WIDTHxHEIGHT, or a factor such as x2. Of another shape than --size, what overhangs is cut" };

    private readonly Option<double> strength = CliOptions.Real("--hires-strength", "How far the enlarged image is taken back: 1 keeps nothing of it", HiresOptions.DefaultStrength, 0, 1);

    private readonly Option<int> steps = CliOptions.Number("--hires-steps", "Steps that the second pass takes, at the end of a schedule of this many / strength; 0: as many as the first", 0, 0, 10_000);

    private readonly Option<string> upscaler = new("--hires-upscaler") { Description = string.Join(", ", HiresUpscaler.Names), DefaultValueFactory = _ => HiresUpscaler.Names[0] };

    public void AddTo(Command command)
    {
        command.Add(size);
        command.Add(strength);
        command.Add(steps);
        command.Add(upscaler);
    }

    /// <exception cref="UsageException">Not a size, or settings of a second pass without one.</exception>
    public HiresOptions? Read(ParseResult p)
    {
        if (p.GetValue(size) is not { } text)
        {
            foreach (Option option in (Option[])[strength, steps, upscaler])
                if (p.GetResult(option) is { Implicit: false }) throw new UsageException($"{option.Name}: has no effect without --hires");
            return null;
        }

        var hires = new HiresOptions { Strength = p.GetValue(strength), Steps = p.GetValue(steps) is var n && n > 0 ? n : null, Upscaler = HiresUpscaler.Find(p.GetValue(upscaler)!) };
        string[] sides = text.ToLowerInvariant().Split('x');
        string? factor = sides.Length == 1 ? sides[0] : sides.Length != 2 ? null : sides[0].Length == 0 ? sides[1] : sides[1].Length == 0 ? sides[0] : null;
        if (double.TryParse(factor, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double scale)) return hires with { Scale = scale };
        if (sides.Length == 2 && int.TryParse(sides[0], NumberStyles.None, CultureInfo.InvariantCulture, out int w) && int.TryParse(sides[1], NumberStyles.None, CultureInfo.InvariantCulture, out int h) && w > 0 && h > 0)
            return hires with { Width = w, Height = h };
        throw new UsageException($"--hires: expected WIDTHxHEIGHT such as 1024x1024, or a factor such as x2, found '{text}'");
    }
}
