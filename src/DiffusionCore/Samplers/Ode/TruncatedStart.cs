using DiffusionCore.Runtime;
using DiffusionCore.Samplers.KDiffusion;

namespace DiffusionCore.Samplers.Ode;

/// <summary>
/// A run that begins at a noise level within the schedule, from an image or another model's answer with that much noise (SDEdit, Meng et al. 2022;
/// truncated diffusion, Zheng et al. 2023; early-stopped, Lyu et al. 2022).
/// </summary>
public static class TruncatedStart
{
    /// <summary>The schedule from a noise level on: that level first, then the schedule's below it.</summary>
    /// <exception cref="UsageException">A level outside the schedule.</exception>
    public static NoiseLevels From(NoiseLevels levels, double sigma)
    {
        if (!(sigma > levels.Minimum && sigma <= levels.Maximum))
            throw new UsageException(FormattableString.Invariant($"start: expected a noise level above {levels.Minimum} and up to {levels.Maximum}, found {sigma}"));
        int first = Array.FindIndex(levels.Sigmas, s => s < sigma);
        return levels with { Sigmas = [sigma, .. levels.Sigmas[first..]], FirstStep = levels.FirstStep + first - 1 };
    }

    /// <summary>The last share of the steps: int(strength * steps), at least one.</summary>
    /// <exception cref="UsageException">A strength outside (0, 1].</exception>
    public static NoiseLevels Last(NoiseLevels levels, double strength)
    {
        if (!(strength > 0 && strength <= 1)) throw new UsageException(FormattableString.Invariant($"strength: expected a number above 0 and up to 1, found {strength}"));
        int skip = levels.Steps - Math.Max(1, (int)(strength * levels.Steps));
        return levels with { Sigmas = levels.Sigmas[skip..], FirstStep = levels.FirstStep + skip };
    }

    /// <summary>The first latent: the image with the noise of the first level.</summary>
    public static double[] Latent(NoiseLevels levels, ReadOnlySpan<double> image, ReadOnlySpan<double> noise)
    {
        var x = new double[image.Length];
        for (int i = 0; i < x.Length; i++) x[i] = image[i] + levels.Maximum * noise[i];
        return x;
    }
}
