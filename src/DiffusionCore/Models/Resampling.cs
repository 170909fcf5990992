using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>Parameter-free changes of resolution by two.</summary>
public static class Resampling
{
    private static readonly double[] BinomialTaps = [1, 3, 3, 1];

    /// <summary>Nearest neighbour, twice the height and width.</summary>
    public static Value Nearest2x(Graph g, Value x) => g.UpsampleNearest(x, checked((int)x.Shape[1] * 2), checked((int)x.Shape[2] * 2));

    /// <summary>Mean of 2x2 pixels.</summary>
    public static Value Average2x(Graph g, Value x) => g.AveragePool(x, 2, 2);

    /// <summary>Binomial filter [1, 3, 3, 1] between inserted zeros (Karras et al. 2019); the gain of 4 keeps the mean.</summary>
    public static Value FirUp2x(Graph g, Value x) => g.Add(new FirResampleOp(Taps(2), 2, 1, 2, 1), x);

    /// <summary>Binomial filter [1, 3, 3, 1], then each second pixel.</summary>
    public static Value FirDown2x(Graph g, Value x) => g.Add(new FirResampleOp(Taps(1), 1, 2, 1, 1), x);

    private static EquatableList<float> Taps(double gain) => new(Array.ConvertAll(BinomialTaps, t => (float)(t * gain / BinomialTaps.Sum())));
}
