using DiffusionCore.Guidance;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>The shapes that a denoising session is prepared for. Height and width are the latent's.</summary>
/// <param name="Guided">Whether the network sees every latent twice: first without, then with the condition.</param>
public readonly record struct SessionShape(int Images, int Height, int Width, bool Guided)
{
    /// <summary>Tokens of the text; 0 where there is none.</summary>
    public int Tokens { get; init; }

    /// <summary>Type of the latents between steps: F32, or F64 on the CPU. The network works in F32.</summary>
    public DType State { get; init; } = DType.F32;

    /// <summary>A third view of every latent, behind the others, through perturbed layers; null where there is none.</summary>
    public PerturbedGuidance? Perturbed { get; init; }

    /// <summary>How often the network sees every latent.</summary>
    public int Branches => (Guided ? 2 : 1) + (Perturbed is null ? 0 : 1);

    /// <summary>Latents that the network evaluates at once.</summary>
    public int Rows => Branches * Images;
}

/// <summary>
/// A network that predicts noise, as sessions record it. What stays the same over the steps of a request it declares as inputs of rate Request;
/// the session gives them memory by their names.
/// </summary>
public interface IDenoiser
{
    /// <summary>Channels of the latent.</summary>
    int Channels { get; }

    /// <summary>As many as <see cref="Channels"/>, or twice as many where the variance is predicted too.</summary>
    int OutputChannels { get; }

    /// <summary>Heights and widths of the latent must be multiples of this.</summary>
    int SizeMultiple { get; }

    /// <summary>Height that the network was trained at; null where the configuration does not say.</summary>
    int? SampleHeight { get; }

    int? SampleWidth { get; }

    /// <param name="x">[Rows, H, W, Channels].</param>
    /// <param name="t">[1].</param>
    /// <returns>[Rows, H, W, OutputChannels].</returns>
    Value Record(Graph g, Value x, Value t, SessionShape shape);
}

/// <summary>A denoiser that is told more than the time at each step.</summary>
internal interface IStepInputs
{
    /// <summary>Its input, [Count] F32 of rate Step.</summary>
    string Name { get; }

    int Count { get; }

    /// <summary>What it is told at an evaluation. Allocates nothing.</summary>
    void Fill(Samplers.Evaluation e, Span<float> values);
}
