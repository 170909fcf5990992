using DiffusionCore.Runtime;
using DiffusionCore.Weights;

namespace DiffusionCore.Models;

/// <summary>What the raw network was trained to answer, and how it is told the noise level.</summary>
public enum EdmPreconditioning
{
    /// <summary>Karras et al. 2022, table 1, "Ours".</summary>
    Edm,

    /// <summary>Variance preserving: the noise, at steps of the schedule.</summary>
    VariancePreserving,

    /// <summary>Variance exploding: the noise, at the logarithm of half the level.</summary>
    VarianceExploding,
}

/// <summary>
/// A network of NVlabs/edm with its preconditioning: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (Karras et al. 2022, equation 7).
/// x, D: [N, H, W, ImageChannels], sigma: [N].
/// </summary>
public sealed class EdmPrecond(WeightScope w, EdmConfig config) : INetwork
{
    private readonly EdmUNet network = new(w.At("model"), config);

    public EdmConfig Config => config;

    public EdmUNet Network => network;

    public void Record(NetworkIO io)
    {
        var x = OpenAiUNet.DeclareImage(io, "x", config.ImageChannels, network.SizeMultiple);
        long n = x.Shape[0];
        var labels = DeclareVector(io, "class_labels", n, config.LabelChannels);
        var augment = DeclareVector(io, "augment_labels", n, config.AugmentChannels);
        var g = io.Graph;
        if (io.Has("noise_labels"))
        {
            var noise = io.Times("noise_labels", n);
            io.OutputMap("F_raw", network.Record(g, x, noise, labels, augment));
            if (augment is not null) io.OutputMap("F_raw_no_augment", network.Record(g, x, noise, labels, null));
        }

        if (!io.Has("sigma")) return;
        var sigma = io.Times("sigma", n);
        io.OutputMap("D_EDMPrecond", Record(g, x, sigma, labels, EdmPreconditioning.Edm, augment));
        if (labels is not null) io.OutputMap("D_EDMPrecond_nolabel", Record(g, x, sigma, null, EdmPreconditioning.Edm, augment));
        if (config.Fourier) io.OutputMap("D_VEPrecond", Record(g, x, sigma, labels, EdmPreconditioning.VarianceExploding, augment));
        else io.OutputMap("D_VPPrecond", Record(g, x, sigma, labels, EdmPreconditioning.VariancePreserving, augment));
    }

    /// <summary>The denoised image.</summary>
    /// <param name="x">[N, H, W, ImageChannels].</param>
    /// <param name="sigma">[N] or [1].</param>
    /// <param name="labels">[N, LabelChannels]; null for the vector of zeros.</param>
    /// <param name="preconditioning">Null: that of the network's class.</param>
    /// <param name="augment">[N, AugmentChannels]; null for none.</param>
    public Value Record(Graph g, Value x, Value sigma, Value? labels, EdmPreconditioning? preconditioning = null, Value? augment = null)
    {
        var level = g.Reshape(sigma, sigma.Shape[0], 1, 1, 1);
        switch (preconditioning ?? config.Preconditioning)
        {
            case EdmPreconditioning.Edm:
                {
                    double data = config.SigmaData;
                    var total = g.Affine(g.Unary(Unary.Square, level), 1, data * data);
                    var inverse = g.Unary(Unary.Reciprocal, g.Unary(Unary.Sqrt, total));
                    var y = network.Record(g, g.Times(x, inverse), g.Affine(g.Unary(Unary.Log, sigma), 0.25), labels, augment);
                    var skip = g.Times(x, g.Affine(g.Unary(Unary.Reciprocal, total), data * data));
                    return g.Plus(skip, g.Times(y, g.Affine(g.Times(level, inverse), data)));
                }

            case EdmPreconditioning.VariancePreserving:
                {
                    // t such that sigma(t) = sigma: beta_d/2 t^2 + beta_min t = ln(1 + sigma^2).
                    var total = g.Unary(Unary.Log, g.Affine(g.Unary(Unary.Square, sigma), 1, 1));
                    var root = g.Unary(Unary.Sqrt, g.Affine(total, 2 * config.BetaRange, config.BetaMinimum * config.BetaMinimum));
                    double factor = (config.Steps - 1) / config.BetaRange;
                    var y = network.Record(g, g.Times(x, InverseRoot(g, level)), g.Affine(root, factor, -factor * config.BetaMinimum), labels, augment);
                    return g.Binary(Binary.Sub, x, g.Times(y, level));
                }

            default:
                return g.Plus(x, g.Times(network.Record(g, x, g.Unary(Unary.Log, g.Affine(sigma, 0.5)), labels, augment), level));
        }
    }

    // 1 / sqrt(1 + sigma^2)
    internal static Value InverseRoot(Graph g, Value sigma) => g.Unary(Unary.Reciprocal, g.Unary(Unary.Sqrt, g.Affine(g.Unary(Unary.Square, sigma), 1, 1)));

    internal static Value? DeclareVector(NetworkIO io, string name, long images, int width)
    {
        if (!io.Has(name)) return null;
        if (width == 0) throw io.Problem(name, "is given, but this network does not take it");
        var v = io.Input(name, 2, Rate.Request);
        return v.Shape == new Shape(images, width) ? v : throw io.Problem(name, $"expected [{images}, {width}], found {v.Shape}");
    }
}

/// <summary>
/// A network for discrete steps (Nichol and Dhariwal 2021) in the words of NVlabs/edm: sigma is rounded to the nearest level of a table u, whose
/// index from the end tells the network the time. D(x; sigma) = x - sigma F(x / sqrt(1 + sigma^2)); of F's channels the first half is used.
/// </summary>
public sealed class IddpmPrecond : INetwork
{
    private readonly EdmConfig config;
    private readonly EdmUNet network;
    private readonly WeightRef levels;

    public IddpmPrecond(WeightScope w, EdmConfig config)
    {
        this.config = config;
        network = new(w.At("model"), config);
        levels = w.Tensor("u", new Shape(config.Steps + 1));
    }

    public EdmConfig Config => config;

    public EdmUNet Network => network;

    public void Record(NetworkIO io)
    {
        var x = OpenAiUNet.DeclareImage(io, "x", config.ImageChannels, network.SizeMultiple);
        var sigma = io.Times("sigma", x.Shape[0]);
        var labels = EdmPrecond.DeclareVector(io, "class_labels", x.Shape[0], config.LabelChannels);
        io.OutputMap("D", Record(io.Graph, x, sigma, labels));
        var index = Nearest(io.Graph, sigma);
        io.Output("round_index", index);
        io.Output("round_sigma", io.Graph.Reshape(io.Graph.Embedding(index, Table(io.Graph)), sigma.Shape[0]));
    }

    /// <summary>The denoised image.</summary>
    /// <param name="x">[N, H, W, ImageChannels].</param>
    /// <param name="sigma">[N] or [1].</param>
    /// <param name="labels">[N, LabelChannels]; null for the vector of zeros.</param>
    public Value Record(Graph g, Value x, Value sigma, Value? labels)
    {
        var level = g.Reshape(sigma, sigma.Shape[0], 1, 1, 1);
        var noise = g.Affine(g.Cast(Nearest(g, sigma), DType.F32), -1, config.Steps - 1);
        var y = network.Record(g, g.Times(x, EdmPrecond.InverseRoot(g, level)), noise, labels, null);
        return g.Binary(Binary.Sub, x, g.Times(g.Slice(y, 3, 0, config.ImageChannels), level));
    }

    private Value Nearest(Graph g, Value sigma) => g.NearestCode(g.Reshape(sigma, sigma.Shape[0], 1), Table(g));

    private Value Table(Graph g) => g.Reshape(g.Weight(levels), config.Steps + 1, 1);
}
