using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>
/// The arguments of the U-Nets that descend from openai/guided-diffusion, checked: its own UNetModel and EncoderUNetModel, that of CompVis' latent
/// diffusion, and Frido's PyUNetModel.
/// </summary>
public sealed record OpenAiUNetConfig
{
    private const int MaximumChannels = 1 << 16;

    public int ImageSize { get; init; }

    public int InChannels { get; init; }

    public int OutChannels { get; init; }

    /// <summary>Width of the first convolution, and of the sinusoid of the time.</summary>
    public int ModelChannels { get; init; }

    /// <summary>Width of each level, finest first.</summary>
    public required int[] Widths { get; init; }

    public int ResBlocks { get; init; }

    /// <summary>Levels that attend, as factors by which the image is smaller there.</summary>
    public required int[] AttentionAt { get; init; }

    public bool ConvResample { get; init; }

    public bool ResblockResample { get; init; }

    public bool ScaleShift { get; init; }

    /// <summary>Number of classes; 0 where the network takes none.</summary>
    public int Classes { get; init; }

    public int Heads { get; init; }

    public int HeadsUpsample { get; init; }

    /// <summary>Channels of a head; null where the number of heads is given.</summary>
    public int? HeadChannels { get; init; }

    public bool PartsFirst { get; init; }

    /// <summary>Depth of the spatial transformers; 0 for plain attention.</summary>
    public int TransformerDepth { get; init; }

    public int? ContextChannels { get; init; }

    /// <summary>Channels of each stage of a pyramid, coarse first; empty in an ordinary network.</summary>
    public int[] Stages { get; init; } = [];

    /// <summary>Whether a classifier pools by attention rather than by the mean.</summary>
    public bool AttentionPool { get; init; }

    /// <summary>What a classifier's gradient is multiplied by where it is asked for by itself.</summary>
    public double GradientScale { get; init; } = 1;

    public int TimeChannels => 4 * ModelChannels;

    /// <summary>Channels of the map that modulates every norm; 0 in an ordinary network.</summary>
    public int MapChannels => Stages.Length > 1 ? ModelChannels : 0;

    public int HeadsFor(int channels, bool up = false) => HeadChannels is { } d ? channels / d : up ? HeadsUpsample : Heads;

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static OpenAiUNetConfig ReadGuided(ConfigFile f) => Check(f, Common(f) with
    {
        Classes = f.GetOptionalInt("num_classes", 1, 1 << 24) ?? 0,
        PartsFirst = f.GetBool("use_new_attention_order", false),
    });

    /// <inheritdoc cref="ReadGuided"/>
    public static OpenAiUNetConfig ReadClassifier(ConfigFile f) => Check(f, Common(f) with
    {
        PartsFirst = f.GetBool("use_new_attention_order", false),
        AttentionPool = f.GetWord("pool", "adaptive", "adaptive", "attention") == "attention",
        GradientScale = f.GetDouble("classifier_scale", 1, 0, 1e6),
    });

    /// <inheritdoc cref="ReadGuided"/>
    public static OpenAiUNetConfig ReadConsistency(ConfigFile f) => Check(f, Common(f) with
    {
        Classes = f.GetOptionalInt("num_classes", 1, 1 << 24) ?? 0,
        PartsFirst = true,
    });

    /// <inheritdoc cref="ReadGuided"/>
    public static OpenAiUNetConfig ReadLatent(ConfigFile f)
    {
        bool transformer = f.GetBool("use_spatial_transformer", false);
        return Check(f, Common(f) with
        {
            Classes = f.GetOptionalInt("num_classes", 1, 1 << 24) ?? 0,
            PartsFirst = f.GetBool("use_new_attention_order", false),
            TransformerDepth = transformer ? f.GetInt("transformer_depth", 1, 1, 64) : 0,
            ContextChannels = transformer ? f.GetOptionalInt("context_dim", 1, MaximumChannels) : null,
        });
    }

    /// <inheritdoc cref="ReadGuided"/>
    public static OpenAiUNetConfig ReadPyramid(ConfigFile f)
    {
        foreach (string field in (ReadOnlySpan<string>)["use_split_head", "use_SPADE_norm", "use_spatial_transformer"])
            if (!f.GetBool(field, null)) throw new ModelFileException(f.Path, field, "expected true; other pyramids are not supported");
        int[] stages = f.GetOptionalInts("split_embed_dim_list", 1, MaximumChannels) ?? [];
        int count = f.GetInt("num_stage", null, 2, 16);
        if (stages.Length != count) throw new ModelFileException(f.Path, "split_embed_dim_list", $"expected {count} numbers as num_stage says, found {stages.Length}");
        var config = Common(f);
        if (stages.Sum() != config.InChannels || stages.Sum() != config.OutChannels)
            throw new ModelFileException(f.Path, "split_embed_dim_list", $"expected a sum of in_channels {config.InChannels} and of out_channels {config.OutChannels}, found {stages.Sum()}");
        // The released program gives every attention one head, whatever num_head_channels says.
        return Check(f, config with
        {
            Heads = 1,
            HeadChannels = null,
            Stages = stages,
            TransformerDepth = f.GetInt("transformer_depth", 1, 1, 64),
            ContextChannels = f.GetOptionalInt("context_dim", 1, MaximumChannels),
        });
    }

    private static OpenAiUNetConfig Common(ConfigFile f)
    {
        if (f.GetInt("dims", 2, 1, 3) != 2) throw new ModelFileException(f.Path, "dims", "expected 2; other dimensions are not supported");
        int model = f.GetInt("model_channels", null, 1, MaximumChannels);
        double[] mult = f.GetOptionalDoubles("channel_mult") ?? [1, 2, 4, 8];
        if (mult.Length is 0 or > 12 || mult.Any(m => m <= 0 || m * model < 1 || m * model > MaximumChannels)) throw new ModelFileException(f.Path, "channel_mult", "expected 1 to 12 positive factors");
        int headChannels = f.GetInt("num_head_channels", -1, -1, MaximumChannels), heads = f.GetInt("num_heads", 1, -1, MaximumChannels), upsample = f.GetInt("num_heads_upsample", -1, -1, MaximumChannels);
        if (headChannels == 0 || (headChannels < 0 && heads < 1)) throw new ModelFileException(f.Path, "num_heads", "expected a number of heads, or of channels per head in num_head_channels");
        return new OpenAiUNetConfig
        {
            ImageSize = f.GetInt("image_size", null, 1, 1 << 16),
            InChannels = f.GetInt("in_channels", null, 1, MaximumChannels),
            OutChannels = f.GetInt("out_channels", null, 1, 1 << 24),
            ModelChannels = model,
            Widths = Array.ConvertAll(mult, m => (int)(m * model)),
            ResBlocks = f.GetInt("num_res_blocks", null, 1, 64),
            AttentionAt = f.GetOptionalInts("attention_resolutions", 1, 1 << 16) ?? throw new ModelFileException(f.Path, "attention_resolutions", "expected an array of whole numbers, found nothing"),
            ConvResample = f.GetBool("conv_resample", true),
            ResblockResample = f.GetBool("resblock_updown", false),
            ScaleShift = f.GetBool("use_scale_shift_norm", false),
            Heads = Math.Max(heads, 1),
            HeadsUpsample = upsample > 0 ? upsample : Math.Max(heads, 1),
            HeadChannels = headChannels > 0 ? headChannels : null,
        };
    }

    private static OpenAiUNetConfig Check(ConfigFile f, OpenAiUNetConfig c)
    {
        for (int i = 0; i < c.Widths.Length; i++)
        {
            int width = c.Widths[i];
            if (width % OpenAiResBlock.Groups != 0) throw new ModelFileException(f.Path, "channel_mult", $"{OpenAiResBlock.Groups} groups do not divide {width} channels");
            bool attends = c.AttentionAt.Contains(1 << i) || i == c.Widths.Length - 1;
            int heads = c.HeadsFor(width);
            if (attends && (heads < 1 || width % heads != 0 || width % c.HeadsFor(width, up: true) != 0))
                throw new ModelFileException(f.Path, c.HeadChannels is null ? "num_heads" : "num_head_channels", $"{heads} heads do not divide {width} channels");
        }

        return c;
    }
}
