using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>
/// Denoised latents as pictures, cheaply: by a tiny autoencoder (TAESD) at the image's size, or where there is none by a linear map from the four
/// channels of Stable Diffusion's latents to red, green and blue, at the latent's size.
/// </summary>
internal sealed class LatentPreview : IDisposable
{
    // Rows: what one unit of a channel adds to red, green and blue in [-1, 1]. Stable Diffusion 1 and 2: keturn 2022, "Decoding latents to RGB without
    // upscaling"; SDXL: Vass 2024, "Explaining the SDXL latent space", there for bytes.
    private static readonly double[][] StableDiffusion = [[0.298, 0.207, 0.208], [0.187, 0.286, 0.173], [-0.158, 0.189, 0.264], [-0.184, -0.271, -0.473]];
    private static readonly double[][] Xl = [[60 / HalfByte, 60 / HalfByte, 60 / HalfByte], [-60 / HalfByte, -5 / HalfByte, 10 / HalfByte], [25 / HalfByte, 15 / HalfByte, -5 / HalfByte], [-70 / HalfByte, -50 / HalfByte, -35 / HalfByte]];
    private static readonly double[] XlOffset = [150 / HalfByte - 1, 140 / HalfByte - 1, 130 / HalfByte - 1];

    private const double HalfByte = 127.5;
    private const int Colours = 3;

    private readonly PreviewOptions options;
    private readonly ModelFolder model;
    private readonly FirstStage? stage;
    private readonly bool owned;
    private readonly MemoryBudget budget;

    private LatentPreview(PreviewOptions options, ModelFolder model, FirstStage? stage, bool owned, string source, MemoryBudget budget) =>
        (this.options, this.model, this.stage, this.owned, Source, this.budget) = (options, model, stage, owned, source, budget);

    /// <summary>What the pictures are made by, for people.</summary>
    public string Source { get; }

    /// <param name="own">The pipeline's own first stage, which serves where it is a tiny one.</param>
    /// <exception cref="UsageException">There is nothing that turns this model's latents into pictures.</exception>
    public static LatentPreview Of(PreviewOptions options, ModelFolder model, Device device, FirstStage? own, MemoryBudget budget)
    {
        if (own is null) return new(options, model, null, false, "the network's own pixels", budget);
        if (own.Network is AutoencoderTiny && budget.Limit is null) return new(options, model, own, false, "the model's own tiny autoencoder", budget);
        // A limit holds the denoiser and one decoder, one after the other; a second decoder beside the denoiser is not in it.
        if (model.PreviewStage is { } tiny && budget.Limit is null) return new(options, model, new FirstStage(device, tiny), true, $"the tiny autoencoder {model.PreviewStagePath}", budget);
        string why = budget.Limit is null ? "no tiny autoencoder was found or given" : "under a memory limit";
        if (model.Denoiser.Channels == Xl.Length) return new(options, model, null, false, $"a linear map of the latent's channels ({why})", budget);
        throw new UsageException($"preview: a latent of {model.Denoiser.Channels} channels is shown by a tiny autoencoder only, and {why}; give --preview-vae FOLDER");
    }

    /// <param name="step">From 1.</param>
    public bool IsDue(int step) => step % options.Every == 0;

    /// <summary>Makes the pictures of the session's denoised latents and hands them over.</summary>
    public void Show(DenoiseSession session, int first, int step, int? steps, CancellationToken cancellation)
    {
        float[] latents = session.DownloadDenoised();
        var images = new List<byte[]>();
        int factor = stage?.Network.Factor ?? 1, channels = stage?.Network.ImageChannels ?? (model.FirstStage is null ? session.Channels : Colours);
        for (int i = 0; i < session.Images; i++)
        {
            var latent = latents.AsSpan(i * session.Elements, session.Elements);
            float[] values = stage is not null ? stage.Decode(latent, session.Height, session.Width, budget, cancellation: cancellation) : model.FirstStage is null ? latent.ToArray() : Linear(latent);
            images.Add(model.Bytes(values));
        }

        options.Shown(new Preview(first, step, steps, session.Width * factor, session.Height * factor, channels, images));
    }

    public void Dispose()
    {
        if (owned) stage!.Dispose();
    }

    private float[] Linear(ReadOnlySpan<float> latent)
    {
        bool xl = model.Text is { Config.TextTime: true };
        double[][] rows = xl ? Xl : StableDiffusion;
        var image = new float[latent.Length / rows.Length * Colours];
        for (int p = 0; p < image.Length / Colours; p++)
        {
            for (int c = 0; c < Colours; c++)
            {
                double sum = xl ? XlOffset[c] : 0;
                for (int k = 0; k < rows.Length; k++) sum += rows[k][c] * latent[p * rows.Length + k];
                image[p * Colours + c] = (float)sum;
            }
        }

        return image;
    }
}
