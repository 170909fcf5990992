using DiffusionCore.Kernels.Host;
using DiffusionCore.Models;
using DiffusionCore.Runtime;
using DiffusionCore.Runtime.Passes;
using DiffusionCore.Samplers;

namespace DiffusionCore.Pipelines;

/// <summary>
/// A denoiser led by a classifier's gradient (Dhariwal and Nichol 2021). With grad = scale * d ln p(y | x)/dx, eps' = eps - sigma*grad (algorithm 2), said as a
/// denoised image: x0' = x0 + sigma^2/alpha*grad. Where the sampler names the variance of its step, the mean moves by variance*grad instead (algorithm 1), that
/// is x0' = x0 + variance/D*grad. x0 is clipped before, not after.
/// <code>
/// x --network--> x0 --clip--(+ k*grad)--> x0'
/// +--classifier at x, or at x0--log-softmax of y--gradient pass--> grad
/// </code>
/// A classifier of clean images is asked about the clipped x0, and its gradient is led back through x0 and the network.
/// </summary>
internal sealed class ClassifierGuide : IDenoiser, IStepInputs
{
    /// <summary>[Rows] class numbers, I64.</summary>
    public const string Labels = "classifier_labels";

    // Of the numbers that each step is told.
    private const int OfX = 0, OfOutput = 1, OfGradient = 2, LogVariance = 3, LogVarianceSlope = 4;

    private readonly IDenoiser network;
    private readonly GuidingClassifier classifier;
    private readonly SamplerPlan own;
    private readonly double scale;
    private readonly bool variance;

    /// <exception cref="UsageException">The sampler reads the network in a way of its own.</exception>
    public ClassifierGuide(IDenoiser network, GuidingClassifier classifier, SamplerPlan plan, double scale)
    {
        (this.network, this.classifier, this.scale, own) = (network, classifier, scale, plan);
        if (plan.ThresholdRatio > 0) throw new UsageException($"classifier guidance: {plan.Name} bounds the image by its own quantile, which would undo it; turn thresholding off");
        if (plan.Evaluations.Any(e => e.Reading is not null)) throw new UsageException($"classifier guidance: sampler {plan.Name} reads the network in a way of its own; use another sampler");
        variance = plan.Evaluations.Any(e => e.MeanVariance is { } b && b.Minimum != b.Maximum);
        if (variance && network.OutputChannels != 2 * network.Channels) throw new InvalidOperationException("a variance between bounds needs a network that predicts it");
        Plan = plan with { Prediction = Prediction.Sample, Clip = double.PositiveInfinity };
    }

    /// <summary>The run with the guided network, which answers the denoised image.</summary>
    public SamplerPlan Plan { get; }

    public int Channels => network.Channels;

    public int OutputChannels => network.OutputChannels;

    public int SizeMultiple => network.SizeMultiple;

    public int? SampleHeight => network.SampleHeight;

    public int? SampleWidth => network.SampleWidth;

    public string Name => "classifier_guide";

    public int Count => LogVarianceSlope + 1;

    public Value Record(Graph g, Value x, Value t, SessionShape shape)
    {
        var numbers = g.Input(Name, new Shape(Count));
        var classes = g.Input(Labels, new Shape(shape.Rows), DType.I64, Rate.Request);
        Value output = network.Record(g, x, t, shape), m = output;
        if (OutputChannels != Channels) m = g.Slice(output, 3, 0, Channels);
        var denoised = g.Plus(g.Times(x, Number(OfX)), g.Times(m, Number(OfOutput)));
        Value gradient, clipped = own.Clips ? Clipped(g, denoised, own.Clip) : denoised;
        using (g.Layer("classifier"))
        {
            if (classifier.Noisy)
            {
                gradient = OpenAiClassifier.RecordGradient(g, x, classifier.RecordLogits(g, x, t), classes);
            }
            else
            {
                var image = Clipped(g, denoised, 1);
                gradient = GradientPass.Append(g, denoised, OpenAiClassifier.RecordGradient(g, image, classifier.RecordLogits(g, image, t), classes), x)[0];
            }
        }

        if (!variance) return With(g.Plus(clipped, g.Times(gradient, Number(OfGradient))));
        var log = g.Plus(g.Times(g.Affine(g.Slice(output, 3, Channels, Channels), 1, 1), Number(LogVarianceSlope)), Number(LogVariance));
        return With(g.Plus(clipped, g.Times(g.Times(gradient, g.Unary(Unary.Exp, log)), Number(OfGradient))));

        Value Number(int i) => g.Slice(numbers, 0, i, 1);

        Value With(Value image) => OutputChannels == Channels ? image : g.Concat(3, image, g.Slice(output, 3, Channels, OutputChannels - Channels));
    }

    public void Fill(Evaluation e, Span<float> values)
    {
        var reading = StepNumbers.Of(own.Prediction, e.Alpha, e.Sigma);
        // The network sees the latent scaled; its gradient is by that.
        values[OfX] = (float)(reading.A0 / e.InputScale);
        values[OfOutput] = (float)reading.B0;
        values[LogVariance] = values[LogVarianceSlope] = 0;
        double k = e.InputScale * scale;
        if (e.MeanVariance is not { } bounds)
        {
            k *= e.Sigma * e.Sigma / e.Alpha;
        }
        else
        {
            k /= e.D;
            if (variance) (values[LogVariance], values[LogVarianceSlope]) = ((float)bounds.Minimum, (float)(0.5 * (bounds.Maximum - bounds.Minimum)));
            else k *= DoubleMath.Exp(bounds.Minimum);
        }

        values[OfGradient] = (float)k;
    }

    private static Value Clipped(Graph g, Value x, double bound) =>
        g.Binary(Binary.Min, g.Binary(Binary.Max, x, g.Constant([-(float)bound], new Shape(1))), g.Constant([(float)bound], new Shape(1)));
}
