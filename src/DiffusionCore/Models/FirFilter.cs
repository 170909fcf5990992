using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>
/// Changes of resolution by two with a separable filter (Karras et al. 2019): up, zeros are inserted and the gain is 2 along each axis; down, each
/// second pixel is kept. Either way the map stays centred.
/// </summary>
internal sealed class FirFilter
{
    private readonly double[] taps;

    /// <param name="taps">An even number of them, a palindrome with a sum that is not zero; scaled here so that they sum to one.</param>
    public FirFilter(double[] taps)
    {
        double sum = taps.Sum();
        this.taps = Array.ConvertAll(taps, t => t / sum);
    }

    private int Half => taps.Length / 2;

    /// <summary>Null where the taps can be used, else why not.</summary>
    public static string? Problem(double[] taps) =>
        taps.Length is 0 or > 64 || taps.Length % 2 != 0 || taps.Sum() == 0 || !taps.SequenceEqual(taps.Reverse()) ? "expected an even number of symmetric taps" : null;

    /// <summary>[N, H, W, C] to [N, 2H, 2W, C].</summary>
    public Value Up(Graph g, Value x) => g.Add(new FirResampleOp(Scaled(2), 2, 1, Half, Half - 1), x);

    /// <summary>[N, H, W, C] to [N, H/2, W/2, C].</summary>
    public Value Down(Graph g, Value x) => g.Add(new FirResampleOp(Scaled(1), 1, 2, Half - 1, Half - 1), x);

    /// <summary>Filters only; the map grows by one, which a 3x3 convolution of stride 2 without a border then halves.</summary>
    public Value Blur(Graph g, Value x) => g.Add(new FirResampleOp(Scaled(1), 1, 1, Half, Half), x);

    /// <summary>Filters without a border and keeps each second pixel.</summary>
    public Value DownInside(Graph g, Value x) => g.Add(new FirResampleOp(Scaled(1), 1, 2, 0, 0), x);

    public Value Resample(Graph g, Value x, BlockResample resample) => resample switch
    {
        BlockResample.FirUp => Up(g, x),
        BlockResample.FirDown => Down(g, x),
        _ => x,
    };

    private EquatableList<float> Scaled(double gain) => new(Array.ConvertAll(taps, t => (float)(t * gain)));
}
