// Which kernel computes a convolution. The only place that decides; a function of the shape of one image, so that neither the batch that an image is in nor
// the number of threads changes a byte of it.
//
// Measured    2 cores, Zen 4 class, AVX-512, 2026-11-24, one worker by CPU time, F32 weights, C = O, time over that of the direct kernel
//             (dotnet run -c Release --project benchmarks/DiffusionCore.Benchmarks -- choice):
//
//             map    channels  one image: F2    F4      4 images: F2    F4
//             4x4    64             1.06   1.55            0.70   0.55
//             4x4    512            1.29   1.61            0.73   0.59
//             8x8    32             0.82   0.85            0.70   0.45
//             8x8    128            0.67   0.59            0.60   0.39
//             8x8    1280           0.78   0.56            0.61   0.39
//             16x16  16             1.04   0.64            1.02   0.62
//             16x16  128            0.61   0.40            0.62   0.42
//             16x16  1280           0.59   0.35            0.60   0.32
//             32x32  64             0.61   0.38            0.61   0.42
//             64x64  320            0.56   0.33
//             128x128 128           0.58   0.37
//
//             F4 wins wherever a map has four tiles; F2 never wins where F4 does not lose by its border. 4x4 gains only in batches, which the choice may
//             not know: the definition's own sums stay there.
namespace DiffusionCore.Kernels.Host;

/// <summary>The kernels for a convolution.</summary>
public enum ConvolutionKernel
{
    Direct = 0,
    FewOutputs = 1,
    WinogradF2 = 2,
    WinogradF4 = 4,
}

/// <summary>The table that chooses.</summary>
public static class ConvolutionChoice
{
    // 36 products a tile against 9 an output pixel: overhanging tiles may waste this much before the transforms are not paid for.
    private const double LeastGain = 0.6;
    private const int FewestTiles = 4;

    /// <param name="exact">Only the definition's own sums: no Winograd.</param>
    public static ConvolutionKernel Of(in ConvShape s, bool exact)
    {
        if (FewOutputs.Declines(s) == null) return ConvolutionKernel.FewOutputs;
        if (exact || Winograd.Declines(s) != null) return ConvolutionKernel.Direct;
        double pixels = (double)s.OutHeight * s.OutWidth;
        if (Tiles(s, 4) >= FewestTiles && 36 * Tiles(s, 4) <= LeastGain * 9 * pixels) return ConvolutionKernel.WinogradF4;
        return Tiles(s, 2) >= 2 * FewestTiles && 16 * Tiles(s, 2) <= LeastGain * 9 * pixels ? ConvolutionKernel.WinogradF2 : ConvolutionKernel.Direct;
    }

    private static double Tiles(in ConvShape s, int side) => (double)((s.OutHeight + side - 1) / side) * ((s.OutWidth + side - 1) / side);
}
