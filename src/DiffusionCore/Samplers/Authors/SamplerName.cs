using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Authors;

/// <summary>Names of samplers as people type them: case, dashes and underscores do not count.</summary>
internal static class SamplerName
{
    /// <summary>The name of the list that is meant; null where it has none such.</summary>
    public static string? Of(IReadOnlyList<string> names, string? given) => given is null ? names[0] : names.FirstOrDefault(n => Sampler.Plain(n) == Sampler.Plain(given));

    /// <exception cref="UsageException">Always.</exception>
    public static UsageException Unknown(string model, string given, IReadOnlyList<string> names) =>
        new($"sampler '{given}' does not fit {model}{Suggestion.Hint(given, [.. names])}");

    /// <summary>Refuses what the authors' samplers place themselves.</summary>
    /// <exception cref="UsageException">A schedule, noise levels or steps, a shift of them or an order are given.</exception>
    public static void RefusePlacement(string name, SamplerOptions options, string? schedule)
    {
        if (schedule is not (null or "default")) throw new UsageException($"schedule '{schedule}': {name} places its own noise levels; leave --schedule out");
        if (options.Sigmas is not null || options.Timesteps is not null) throw new UsageException($"sigmas, timesteps: {name} places its own; leave them out");
        RefuseShift(name, options);
        RefuseOrder(name, options);
    }

    /// <exception cref="UsageException">A shift of the noise levels is given.</exception>
    public static void RefuseShift(string name, SamplerOptions options)
    {
        if (options.SnrShift is not (null or 1)) throw new UsageException($"snr shift: {name} is sampled on the levels of the network's authors; leave --snr-shift out");
    }

    /// <exception cref="UsageException">An order is given.</exception>
    public static void RefuseOrder(string name, SamplerOptions options)
    {
        if (options.SolverOrder is not null) throw new UsageException($"order: {name} has none to choose; leave --order out");
    }

    /// <exception cref="UsageException">Steps below the least.</exception>
    public static void CheckSteps(SamplerOptions options, int least, int most = int.MaxValue)
    {
        if (options.Steps < least || options.Steps > most) throw new UsageException($"steps: expected {least} to {most}, found {options.Steps}");
        if (options.SkipSteps < 0) throw new UsageException($"skipped steps: expected 0 or more, found {options.SkipSteps}");
        if (options.SkipSteps >= options.Steps) throw new UsageException($"no step is left of {options.Steps}");
    }
}
