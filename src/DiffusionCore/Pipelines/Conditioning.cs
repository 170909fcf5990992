using System.Runtime.InteropServices;
using DiffusionCore.Kernels.Host;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>What a denoiser is told over a whole request, made once: encoded texts, sizes, masks, hints, and per batch the classes.</summary>
internal sealed class Conditioning
{
    private const float AestheticScore = 6, NegativeAestheticScore = 2.5f;     // what the refiner was tuned with

    private readonly ModelFolder model;
    private readonly bool guided;
    private readonly SessionShape form;
    private readonly int height, width, tokens;
    private readonly TextContext? positive, negative;
    private readonly float[]? maskedLatent;
    private readonly GenerateRequest request;
    private readonly LatentConditions? latent;

    private const int ShownOfLost = 1000;

    /// <param name="form">The session's shape but for images, size and tokens.</param>
    /// <param name="height">Of the image, in pixels.</param>
    /// <param name="note">Hears what the request said that has no effect or was cut; null where it was said before.</param>
    public Conditioning(GeneratePipeline pipeline, GenerateRequest request, SessionShape form, int height, int width, ConditionEncoder? encoder, MemoryBudget budget, Action<string>? note)
    {
        (this.form, bool guided) = (form, form.Guided);
        (model, this.request, this.guided, this.height, this.width) = (pipeline.Model, request, guided, height, width);
        if (request.Init is { } image) Init = Signed(image.Values);
        if (request.Mask is { } mask) LatentMask = Shrunk(mask, model.Factor);
        if (model.Own is Samplers.Authors.LatentSampling)
        {
            latent = new LatentConditions(pipeline, request, guided, height, width, encoder, budget, note);
            tokens = model.Condition?.Length ?? 0;
        }

        if (model.Text is not { } text) return;

        string against = request.Negative ?? "";
        int chunks = Math.Max(pipeline.ChunksOf(request.Prompt, request), guided ? pipeline.ChunksOf(against, request) : 1);
        positive = pipeline.Encode(request.Prompt, request, chunks, budget);
        tokens = positive.Tokens;
        SayCut(note, "prompt", positive.Lost);
        if (guided)
        {
            negative = pipeline.Encode(against, request, chunks, budget);
            SayCut(note, "negative prompt", negative.Lost);
            if (request.Negative is null && model.ZerosForNoPrompt)
                negative = negative with { Hidden = new float[negative.Hidden.Length], Pooled = negative.Pooled is { } p ? new float[p.Length] : null };
        }
        else if (request.Negative is not null)
        {
            note?.Invoke("the negative prompt has no effect without guidance");
        }

        if (!text.Inpaints) return;
        // Where the mask covers it the image is gray, zero in [-1, 1].
        var around = (float[])Init!.Clone();
        for (int i = 0; i < around.Length; i++)
            if (request.Mask!.Values[i / model.ImageChannels] >= 0.5f) around[i] = 0;
        maskedLatent = pipeline.Latent(around, height, width, budget);
    }

    /// <summary>The image to start from, [Height, Width, channels] in [-1, 1].</summary>
    public float[]? Init { get; }

    /// <summary>[h, w] at the latent's size: 1 is made anew.</summary>
    public float[]? LatentMask { get; }

    public SessionShape Shape(int images) => form with { Images = images, Height = height / model.Factor, Width = width / model.Factor, Tokens = tokens };

    /// <summary>Bytes of the denoiser's request inputs for a batch with these classes.</summary>
    /// <param name="first">The batch's first image.</param>
    public Dictionary<string, byte[]> For(int[] labels, int first)
    {
        int images = labels.Length;
        var all = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        latent?.Add(all, first, images);
        if (model.Classes is not null && latent is null)
        {
            long none = model.Classes.NullClass ?? 0;
            long[] ids = [.. guided ? labels.Select(_ => none) : [], .. labels.Select(l => (long)l), .. form.Perturbed is null ? [] : labels.Select(l => (long)l)];
            all[ClassDenoiser.ClassLabels] = MemoryMarshal.AsBytes(ids.AsSpan()).ToArray();
        }

        if (model.Text is not { } text) return all;
        Rows(TextDenoiser.Context, negative?.Hidden, positive!.Hidden);
        if (text.PooledChannels is not null) Rows(TextDenoiser.Pooled, negative?.Pooled, positive.Pooled!);
        if (text.SizeIds > 0) Rows(TextDenoiser.TimeIds, Sizes(text.SizeIds, NegativeAestheticScore), Sizes(text.SizeIds, AestheticScore));
        if (text.Config.TimeConditionChannels > 0) Rows(TextDenoiser.TimeCondition, null, GuidanceEmbedding(request.Guidance - 1, text.Config.TimeConditionChannels));
        if (text.Inpaints)
        {
            Rows(TextDenoiser.Mask, LatentMask!, LatentMask!);
            Rows(TextDenoiser.MaskedLatent, maskedLatent!, maskedLatent!);
        }

        for (int i = 0; i < text.Controls.Count; i++)
        {
            Rows(TextDenoiser.ControlImage(i), request.Hints[i].Values, request.Hints[i].Values);
            all[TextDenoiser.ControlScale(i)] = BitConverter.GetBytes((float)request.ControlScale);
        }

        return all;

        // The branch that guidance leads away from comes first, the perturbed one last.
        void Rows(string name, float[]? without, float[] with)
        {
            var bytes = new byte[form.Branches * images * with.Length * sizeof(float)];
            var values = MemoryMarshal.Cast<byte, float>(bytes.AsSpan());
            for (int i = 0; i < images; i++)
            {
                if (guided) without!.CopyTo(values[(i * with.Length)..]);
                with.CopyTo(values[(((guided ? images : 0) + i) * with.Length)..]);
                if (form.Perturbed is not null) with.CopyTo(values[(((guided ? 2 : 1) * images + i) * with.Length)..]);
            }

            all[name] = bytes;
        }
    }

    /// <summary>
    /// The guidance weight as latent consistency models read it: the sinusoids of 1000*w (Luo et al. 2023), sines first.
    /// </summary>
    internal static float[] GuidanceEmbedding(double weight, int channels)
    {
        int half = channels / 2;
        var embedding = new float[channels];
        for (int i = 0; i < half; i++)
        {
            var (sin, cos) = DoubleMath.SinCos(1000 * weight * DoubleMath.Exp(-DoubleMath.Log(10000) * i / (half - 1)));
            (embedding[i], embedding[half + i]) = ((float)sin, (float)cos);
        }

        return embedding;
    }

    // Original height and width, crop top and left, then the target's height and width; the refiner has a score in their place.
    private float[] Sizes(int count, float score) => count == 5 ? [height, width, 0, 0, score] : [height, width, 0, 0, height, width];

    /// <summary>Says what of a text was lost: one line on a terminal, whatever its length.</summary>
    internal static void SayCut(Action<string>? note, string what, string? lost)
    {
        if (lost is null) return;
        string shown = lost.Length <= ShownOfLost ? lost : $"{lost[..ShownOfLost]}... ({lost.Length} characters)";
        note?.Invoke($"the {what} is longer than the text encoder takes; cut off: \"{shown}\"");
    }

    /// <summary>[0, 1] to [-1, 1].</summary>
    internal static float[] Signed(float[] unit) => Array.ConvertAll(unit, v => 2 * v - 1);

    // A latent's pixel is made anew where the mask's pixel at its corner says so, as the peers shrink masks.
    internal static float[] Shrunk(SourceImage mask, int factor)
    {
        int height = mask.Height / factor, width = mask.Width / factor;
        var small = new float[height * width];
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) small[y * width + x] = mask.Values[y * factor * mask.Width + x * factor] >= 0.5f ? 1 : 0;
        return small;
    }
}
