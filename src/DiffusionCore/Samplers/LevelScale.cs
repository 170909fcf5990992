using DiffusionCore.Kernels.Host;

namespace DiffusionCore.Samplers;

/// <summary>What a noise level s means in x = alpha*x0 + sigma*eps.</summary>
internal enum LevelScale
{
    /// <summary>s = sigma/alpha with alpha^2 + sigma^2 = 1.</summary>
    Preserving,

    /// <summary>alpha = 1, sigma = s.</summary>
    Exploding,

    /// <summary>alpha = 1 - s, sigma = s.</summary>
    Flow,
}

internal static class LevelScales
{
    /// <summary>alpha, sigma and lambda = ln(alpha/sigma) of a level.</summary>
    public static (double Alpha, double Sigma, double Lambda) Split(this LevelScale scale, double level)
    {
        double alpha = scale switch { LevelScale.Preserving => 1 / Math.Sqrt(level * level + 1), LevelScale.Exploding => 1, _ => 1 - level };
        double sigma = scale == LevelScale.Preserving ? level * alpha : level;
        double ratio = scale == LevelScale.Flow ? level / alpha : level;
        return (alpha, sigma, level == 0 ? double.PositiveInfinity : -DoubleMath.Log(ratio));
    }
}
