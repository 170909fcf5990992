namespace DiffusionCore.Guidance;

/// <summary>How the branches of guidance are put together beyond u + w(c - u), the same at every evaluation of a run.</summary>
/// <param name="Rescale">Share of the prediction that is rescaled, 0 to 1 (Lin et al. 2024).</param>
/// <param name="Projected">Adaptive projected guidance; null for plain guidance.</param>
/// <param name="Perturbed">A third branch of the network; null where there is none.</param>
public sealed record GuidanceForm(double Rescale, ProjectedGuidance? Projected, PerturbedGuidance? Perturbed);
