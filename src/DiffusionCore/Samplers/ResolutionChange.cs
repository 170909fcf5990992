using DiffusionCore.Runtime;

namespace DiffusionCore.Samplers;

/// <summary>
/// The numbers of a change of resolution within a run, as pyramids of diffusion models have it (Ryu and Ye 2022; Gu et al. 2023).
/// <code>
/// coarse x = a*x0 + s*eps     ->     fine x' = A*up(x0) + S*eps'    eps' white
///   x' = Kept*up(x) + Detail*(n - mean of n) + Mean*(mean of m),    n, m white, means over blocks of f x f pixels
/// </code>
/// up repeats each pixel f x f times, which leaves noise that is the same over a block. Detail = S fills in what varies within a block. The block means
/// of eps' have the deviation S/f; the coarse noise brings Kept*s of it, with Kept = A/a, and Mean = sqrt(S^2 - (f*Kept*s)^2) the rest. Fine noise that
/// is less than what the coarse noise needs cannot be had: S/A >= f*s/a. A run at the coarse size may begin with f times the block means of the same n:
/// they are independent of what Detail multiplies, and the image is then near that of a run that begins with n.
/// </summary>
/// <param name="Kept">Multiplies the repeated coarse latent.</param>
/// <param name="Detail">Multiplies noise less its block means.</param>
/// <param name="Mean">Multiplies the block means of the noise.</param>
public readonly record struct ResolutionChange(double Kept, double Detail, double Mean)
{
    private const double Rounding = 1e-9;

    /// <summary>
    /// The level sigma/alpha at which a map with f times fewer pixels along each side is as hard to see through: the mean of f x f pixels divides white noise by f.
    /// </summary>
    public static double MatchedLevel(double level, int factor) => level / factor;

    /// <summary>The numbers of x', for levels on both sides.</summary>
    /// <exception cref="UsageException">The fine side has less noise than the coarse one brings.</exception>
    public static ResolutionChange Of(double alpha, double sigma, double fineAlpha, double fineSigma, int factor)
    {
        double kept = fineAlpha / alpha, brought = factor * kept * sigma, rest = fineSigma * fineSigma - brought * brought;
        if (rest < -Rounding * fineSigma * fineSigma)
            throw new UsageException(FormattableString.Invariant($"resolution change: a coarse noise level of {sigma / alpha:G6} becomes {factor * sigma / alpha:G6} at {factor} times the size; the fine level is {fineSigma / fineAlpha:G6}, which is less"));
        return new(kept, fineSigma, Math.Sqrt(Math.Max(rest, 0)));
    }

    /// <summary>White noise of the coarse size: factor times the block means.</summary>
    /// <param name="fine">[factor*height, factor*width, channels], white.</param>
    /// <param name="coarse">[height, width, channels].</param>
    public static void Lower(ReadOnlySpan<float> fine, Span<float> coarse, int height, int width, int channels, int factor)
    {
        for (int i = 0; i < height; i++)
            for (int j = 0; j < width; j++)
                for (int c = 0; c < channels; c++) coarse[(i * width + j) * channels + c] = (float)(factor * BlockMean(fine, i, j, c, width, channels, factor));
    }

    /// <summary>x' from one coarse latent and white noise.</summary>
    /// <param name="coarse">[height, width, channels].</param>
    /// <param name="fine">[factor*height, factor*width, channels]: white noise n, replaced by x'.</param>
    /// <param name="more">White noise m of the same size; not read where Mean is 0.</param>
    public void Raise(ReadOnlySpan<float> coarse, Span<float> fine, ReadOnlySpan<float> more, int height, int width, int channels, int factor)
    {
        for (int i = 0; i < height; i++)
        {
            for (int j = 0; j < width; j++)
            {
                for (int c = 0; c < channels; c++)
                {
                    double level = Kept * coarse[(i * width + j) * channels + c] - Detail * BlockMean(fine, i, j, c, width, channels, factor);
                    if (Mean != 0) level += Mean * BlockMean(more, i, j, c, width, channels, factor);
                    for (int k = 0; k < factor * factor; k++)
                    {
                        ref float v = ref fine[At(i, j, c, k, width, channels, factor)];
                        v = (float)(level + Detail * v);
                    }
                }
            }
        }
    }

    private static double BlockMean(ReadOnlySpan<float> x, int i, int j, int c, int width, int channels, int factor)
    {
        double sum = 0;
        for (int k = 0; k < factor * factor; k++) sum += x[At(i, j, c, k, width, channels, factor)];
        return sum / (factor * factor);
    }

    // Pixel k of block (i, j) of a map whose blocks are width across.
    private static int At(int i, int j, int c, int k, int width, int channels, int factor) => ((i * factor + k / factor) * factor * width + j * factor + k % factor) * channels + c;
}
