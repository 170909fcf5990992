using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers.Schedules;

/// <summary>Whose mathematics a name stands for where programs differ. Diffusers is the default.</summary>
public enum Compatibility
{
    /// <summary>Scheduler classes of diffusers; samplers that it lacks run on its grids.</summary>
    Diffusers,

    /// <summary>stable-diffusion-webui: fractional times, the latent starts at the first noise level, DPM2 drops the level before the last.</summary>
    A1111,

    /// <summary>ComfyUI: whole times, the latent starts at sqrt(1 + sigma^2) where the first level is the model's largest.</summary>
    Comfy,

    /// <summary>k-diffusion: fractional times, schedules as its functions have them.</summary>
    KDiffusion,
}

/// <summary>Names of <see cref="Compatibility"/>.</summary>
public static class Compatibilities
{
    public static IReadOnlyList<string> Names { get; } = ["diffusers", "a1111", "comfy", "kdiffusion"];

    /// <exception cref="UsageException">Not one of <see cref="Names"/>.</exception>
    public static Compatibility Parse(string name) =>
        Names.ToList().IndexOf(name.ToLowerInvariant()) is var i && i >= 0 ? (Compatibility)i : throw new UsageException($"compat: '{name}' is unknown{Suggestion.Hint(name, [.. Names])}");
}
