using DiffusionCore.Models;
using DiffusionCore.Runtime;

namespace DiffusionCore.Pipelines;

/// <summary>UNet2DConditionModel: a text, and what its configuration asks for beside it.</summary>
internal sealed class TextDenoiser : IDenoiser
{
    /// <summary>[Rows, Tokens, context channels], F32.</summary>
    public const string Context = "encoder_hidden_states";

    /// <summary>[Rows, D], F32: the pooled text (SDXL).</summary>
    public const string Pooled = "text_embeds";

    /// <summary>[Rows, SizeIds], F32: sizes and crop (SDXL).</summary>
    public const string TimeIds = "time_ids";

    /// <summary>[Rows, D], F32: the embedded guidance weight (latent consistency models).</summary>
    public const string TimeCondition = "timestep_cond";

    /// <summary>[Rows, H, W, 1], F32: 1 where the image is made anew (inpainting networks).</summary>
    public const string Mask = "mask";

    /// <summary>[Rows, H, W, Channels], F32: the latent of the image without what the mask covers.</summary>
    public const string MaskedLatent = "masked_image_latents";

    private readonly UNet2DConditionModel unet;
    private readonly IReadOnlyList<ControlNetModel> controls;

    /// <param name="pooledChannels">Width of the pooled text that the encoders give; null where they give none.</param>
    /// <param name="latentChannels">Of the first stage; an inpainting network takes a mask and a second latent beside the first.</param>
    /// <exception cref="ModelFileException">The network's inputs are neither.</exception>
    public TextDenoiser(string path, UNet2DConditionModel unet, int latentChannels, int? pooledChannels, IReadOnlyList<ControlNetModel> controls)
    {
        this.unet = unet;
        this.controls = controls;
        Channels = latentChannels;
        if (unet.Config.TextTime)
        {
            int rest = (unet.Config.ProjectionChannels ?? 0) - (pooledChannels ?? 0), each = unet.Config.AdditionTimeChannels;
            if (pooledChannels is null || rest <= 0 || rest % each != 0)
                throw new ModelFileException(path, "projection_class_embeddings_input_dim", $"{unet.Config.ProjectionChannels} does not hold a pooled text of {pooledChannels ?? 0} and embedded sizes of {each} each");
            (PooledChannels, SizeIds) = (pooledChannels, rest / each);
        }

        int inputs = unet.Config.InChannels;
        Inpaints = inputs == 2 * latentChannels + 1;
        if (!Inpaints && inputs != latentChannels)
            throw new ModelFileException(path, "in_channels", $"expected {latentChannels}, the latent's channels, or {2 * latentChannels + 1} for inpainting, found {inputs}");
    }

    public int Channels { get; }

    public int OutputChannels => unet.Config.OutChannels;

    // Any size: the way up follows the skips' sizes.
    public int SizeMultiple => 1;

    public int? SampleHeight => unet.Config.SampleHeight;

    public int? SampleWidth => unet.Config.SampleWidth;

    public UNet2DConditionConfig Config => unet.Config;

    /// <summary>Whether the network itself takes a mask and the latent around it.</summary>
    public bool Inpaints { get; }

    /// <summary>Width of the text's vectors.</summary>
    public int ContextChannels => Config.EncoderHiddenChannels ?? Config.ContextChannels[0];

    /// <summary>Width of the pooled text; null where none is read.</summary>
    public int? PooledChannels { get; }

    /// <summary>Numbers that SDXL is told of an image's size: six, in the refiner five.</summary>
    public int SizeIds { get; }

    public IReadOnlyList<ControlNetModel> Controls => controls;

    public static string ControlImage(int index) => $"control_image.{index}";

    /// <summary>[1], F32: multiplies what a ControlNet adds.</summary>
    public static string ControlScale(int index) => $"control_scale.{index}";

    public Value Record(Graph g, Value x, Value t, SessionShape shape)
    {
        long rows = shape.Rows, height = shape.Height, width = shape.Width;
        var c = new UNetConditions
        {
            Context = Floats(Context, new Shape(rows, shape.Tokens, ContextChannels)),
            TextEmbeds = PooledChannels is { } pooled ? Floats(Pooled, new Shape(rows, pooled)) : null,
            TimeIds = Config.TextTime ? Floats(TimeIds, new Shape(rows, SizeIds)) : null,
            TimeCondition = Config.TimeConditionChannels > 0 ? Floats(TimeCondition, new Shape(rows, Config.TimeConditionChannels)) : null,
        };

        // A ControlNet reads the latent alone; the inpainting network reads the mask behind it.
        IReadOnlyList<Value> down = [];
        Value? middle = null;
        for (int i = 0; i < controls.Count; i++)
        {
            var image = Floats(ControlImage(i), new Shape(rows, height * controls[i].HintScale, width * controls[i].HintScale, controls[i].Config.HintChannels));
            using (g.Layer($"controlnet.{i}"))
            {
                var (d, m) = controls[i].Record(g, x, t, c, image, Floats(ControlScale(i), new Shape(1)));
                down = down.Count == 0 ? d : [.. down.Zip(d, (a, b) => g.Plus(a, b))];
                middle = middle is { } sum ? g.Plus(sum, m) : m;
            }
        }

        c = c with { DownResiduals = down, MiddleResidual = middle };
        if (Inpaints) x = g.Concat(3, x, Floats(Mask, new Shape(rows, height, width, 1)), Floats(MaskedLatent, new Shape(rows, height, width, Channels)));
        return unet.Record(g, x, t, c);

        Value Floats(string name, Shape of) => g.Input(name, of, DType.F32, Rate.Request);
    }
}
