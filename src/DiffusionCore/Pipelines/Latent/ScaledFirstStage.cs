using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>A first stage whose latents a denoiser sees multiplied, each channel by a number of its own.</summary>
/// <param name="scales">One per channel of the latent.</param>
internal sealed class ScaledFirstStage(IFirstStage inner, float[] scales) : IFirstStage
{
    public int ImageChannels => inner.ImageChannels;

    public int LatentChannels => inner.LatentChannels;

    public int Factor => inner.Factor;

    public void Record(NetworkIO io) => inner.Record(io);

    public Value EncodeToLatent(Graph g, Value image, Value? noise = null) => Times(g, inner.EncodeToLatent(g, image, noise), scales);

    /// <summary>Coarser levels of a pyramid repeat each number: they are quantised once for all its copies.</summary>
    public Value DecodeHead(Graph g, Value latent, int doublings)
    {
        latent = Times(g, latent, Array.ConvertAll(scales, s => 1 / s));
        return inner is MultiscaleVQModel pyramid ? pyramid.DecodeHead(g, latent, doublings, repeated: true) : inner.DecodeHead(g, latent, doublings);
    }

    public Value DecodeTail(Graph g, Value features, int doublings) => inner.DecodeTail(g, features, doublings);

    private static Value Times(Graph g, Value x, float[] by) => Array.TrueForAll(by, s => s == 1) ? x : g.Times(x, g.Constant(by, new Shape(1, 1, 1, by.Length)));
}
