using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>
/// A U-Net of openai/consistency_models with its preconditioning (Song et al. 2023): guided diffusion's network, told 250 ln(sigma).
/// D(x; sigma) = c_skip x + c_out F(c_in x). Trained by distillation, c_skip and c_out are those of the boundary condition D(x; sigma_min) = x.
/// x, D: [N, H, W, InChannels], sigma: [N].
/// </summary>
public sealed class ConsistencyModel(WeightScope w, OpenAiUNetConfig config) : INetwork
{
    private const double SigmaData = 0.5;
    private const double SigmaMinimum = 0.002;
    private const double TimeScale = 250;

    private readonly OpenAiUNet network = new(w, config, "F_raw");

    public OpenAiUNetConfig Config => config;

    public OpenAiUNet Network => network;

    public void Record(NetworkIO io)
    {
        var x = OpenAiUNet.DeclareImage(io, "x", config.InChannels, network.SizeMultiple);
        if (config.Classes == 0 && io.Has("y")) throw io.Problem("y", "is given, but this network takes no classes");
        var classes = config.Classes == 0 ? (Value?)null : io.Input("y", 1, Rate.Request);
        if (classes is { } y && y.Shape[0] != x.Shape[0]) throw io.Problem("y", $"expected [{x.Shape[0]}], found {y.Shape}");
        if (io.Has("timesteps")) io.OutputMap("F_raw", network.Record(io.Graph, x, io.Times("timesteps", x.Shape[0]), null, classes));
        if (!io.Has("sigmas")) return;
        var sigma = io.Times("sigmas", x.Shape[0]);
        var raw = RecordRaw(io.Graph, x, sigma, classes);
        io.OutputMap("denoised_edm", Combine(io.Graph, x, raw, sigma, boundary: false));
        io.OutputMap("denoised_consistency", Combine(io.Graph, x, raw, sigma, boundary: true));
    }

    /// <summary>The denoised image.</summary>
    /// <param name="x">[N, H, W, InChannels].</param>
    /// <param name="sigma">[N] or [1].</param>
    /// <param name="classes">[N] class numbers; null where the network takes none.</param>
    /// <param name="boundary">Whether the network is a consistency function, which leaves x alone at the smallest level.</param>
    public Value Record(Graph g, Value x, Value sigma, Value? classes, bool boundary) => Combine(g, x, RecordRaw(g, x, sigma, classes), sigma, boundary);

    private Value RecordRaw(Graph g, Value x, Value sigma, Value? classes)
    {
        var input = g.Times(x, InverseRoot(g, g.Reshape(sigma, sigma.Shape[0], 1, 1, 1)));
        return network.Record(g, input, g.Affine(g.Unary(Unary.Log, sigma), TimeScale), null, classes);
    }

    // 1 / sqrt(sigma^2 + sigma_data^2)
    private static Value InverseRoot(Graph g, Value sigma) => g.Unary(Unary.Reciprocal, g.Unary(Unary.Sqrt, g.Affine(g.Unary(Unary.Square, sigma), 1, SigmaData * SigmaData)));

    private static Value Combine(Graph g, Value x, Value y, Value sigma, bool boundary)
    {
        var level = g.Reshape(sigma, sigma.Shape[0], 1, 1, 1);
        var above = boundary ? g.Affine(level, 1, -SigmaMinimum) : level;
        var skip = g.Affine(g.Unary(Unary.Reciprocal, g.Affine(g.Unary(Unary.Square, above), 1, SigmaData * SigmaData)), SigmaData * SigmaData);
        return g.Plus(g.Times(x, skip), g.Times(y, g.Affine(g.Times(above, InverseRoot(g, level)), SigmaData)));
    }
}
