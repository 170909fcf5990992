using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>
/// The pair that maps images to the space in which a latent diffusion model works, and back. Maps are channels last.
/// Latents here are the denoiser's: scaled and shifted as the first stage's configuration says.
/// </summary>
public interface IFirstStage : INetwork
{
    int ImageChannels { get; }

    int LatentChannels { get; }

    /// <summary>Pixels of the image per pixel of the latent, along one axis.</summary>
    int Factor { get; }

    /// <param name="image">[N, H, W, ImageChannels] in [-1, 1]; H and W at least <see cref="Factor"/>.</param>
    /// <param name="noise">[N, H/Factor, W/Factor, LatentChannels], standard normal, for a draw from the posterior; null for its mean. What has no posterior ignores it.</param>
    /// <returns>[N, H/Factor, W/Factor, LatentChannels].</returns>
    Value EncodeToLatent(Graph g, Value image, Value? noise = null);

    /// <param name="latent">[N, h, w, LatentChannels].</param>
    /// <returns>[N, h*Factor, w*Factor, ImageChannels], nominally in [-1, 1]; not clamped.</returns>
    Value DecodeFromLatent(Graph g, Value latent) => DecodeTail(g, DecodeHead(g, latent, 0), 0);

    /// <summary>
    /// The decoder without its last <paramref name="doublings"/> of the resolution, or fewer where there are not as many or where the levels between them
    /// have attention, which looks at the whole map.
    /// </summary>
    /// <returns>Features [N, h*k, w*k, F].</returns>
    Value DecodeHead(Graph g, Value latent, int doublings);

    /// <summary>The rest of the decoder: convolutions, which see a neighbourhood, and norms. This is where the memory goes.</summary>
    Value DecodeTail(Graph g, Value features, int doublings);
}
