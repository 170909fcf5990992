using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Authors;

/// <summary>Names of samplers as people type them: case, dashes and underscores do not count.</summary>
internal static class SamplerName
{
    public static string Plain(string name) => string.Concat(name.ToLowerInvariant().Where(char.IsAsciiLetterOrDigit));

    /// <summary>The name of the list that is meant; null where it has none such.</summary>
    public static string? Of(IReadOnlyList<string> names, string? given) => given is null ? names[0] : names.FirstOrDefault(n => Plain(n) == Plain(given));

    /// <exception cref="UsageException">Always.</exception>
    public static UsageException Unknown(string model, string given, IReadOnlyList<string> names) =>
        new($"sampler '{given}' does not fit {model}{Suggestion.Hint(given, [.. names])}");

    /// <summary>Refuses what the authors' samplers place themselves.</summary>
    /// <exception cref="UsageException">A schedule, noise levels or steps are given.</exception>
    public static void RefusePlacement(string name, SamplerOptions options, string? schedule)
    {
        if (schedule is not (null or "default")) throw new UsageException($"schedule '{schedule}': {name} places its own noise levels; leave --schedule out");
        if (options.Sigmas is not null || options.Timesteps is not null) throw new UsageException($"sigmas, timesteps: {name} places its own; leave them out");
    }

    /// <exception cref="UsageException">Steps below the least.</exception>
    public static void CheckSteps(SamplerOptions options, int least, int most = int.MaxValue)
    {
        if (options.Steps < least || options.Steps > most) throw new UsageException($"steps: expected {least} to {most}, found {options.Steps}");
        if (options.SkipSteps < 0) throw new UsageException($"skipped steps: expected 0 or more, found {options.SkipSteps}");
        if (options.SkipSteps >= options.Steps) throw new UsageException($"no step is left of {options.Steps}");
    }
}
