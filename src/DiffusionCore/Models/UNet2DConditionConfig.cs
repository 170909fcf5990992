using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>What stands between the way down and the way up.</summary>
public enum MiddleKind
{
    None,

    /// <summary>One residual block.</summary>
    Residual,

    /// <summary>A spatial transformer between two residual blocks.</summary>
    CrossAttention,
}

/// <summary>How a class reaches the time embedding.</summary>
public enum ConditionClassKind
{
    None,
    Table,
    Timestep,
    Identity,

    /// <summary>A vector through two linear layers.</summary>
    Projection,

    /// <summary>A vector through one linear layer.</summary>
    SimpleProjection,
}

/// <summary>The fields of a UNet2DConditionModel's or ControlNetModel's config.json, checked. Lists have one entry per level, finest first.</summary>
public sealed record UNet2DConditionConfig
{
    internal const int MaximumChannels = 1 << 16;
    private const int MaximumLayers = 64;
    private const int MaximumSide = 1 << 16;

    public required int InChannels { get; init; }

    public int OutChannels { get; init; }

    /// <summary>Height and width of the latent that the network was trained at; null where the file does not say.</summary>
    public int? SampleHeight { get; init; }

    public int? SampleWidth { get; init; }

    public bool CenterInput { get; init; }

    public bool FlipSinToCos { get; init; }

    public double FrequencyShift { get; init; }

    /// <summary>Whether a level attends to the context on the way down.</summary>
    public required bool[] DownCross { get; init; }

    /// <summary>Whether a level attends to the context on the way up; coarsest first, as in the file. Empty in a ControlNet.</summary>
    public required bool[] UpCross { get; init; }

    public MiddleKind Middle { get; init; }

    public required bool[] OnlyCross { get; init; }

    public bool MiddleOnlyCross { get; init; }

    public required int[] BlockOutChannels { get; init; }

    public required int[] LayersPerBlock { get; init; }

    public int DownsamplePadding { get; init; }

    public double MidBlockScaleFactor { get; init; } = 1;

    public Unary Activation { get; init; }

    public int NormGroups { get; init; }

    public double NormEpsilon { get; init; }

    /// <summary>Width of the context that a level's blocks read.</summary>
    public required int[] ContextChannels { get; init; }

    /// <summary>Width of the context as it is given, where a projection stands before the blocks.</summary>
    public int? EncoderHiddenChannels { get; init; }

    public required int[] TransformerDepth { get; init; }

    /// <summary>Depths on the way up, coarsest first; null: those of the way down, reversed.</summary>
    public int[]? UpTransformerDepth { get; init; }

    /// <summary>Number of attention heads. The field that it comes from is called attention_head_dim.</summary>
    public required int[] Heads { get; init; }

    public ConditionClassKind ClassEmbedding { get; init; }

    public int? NumClassEmbeds { get; init; }

    /// <summary>Width of the vector that class_embed_type "projection" or addition_embed_type "text_time" takes.</summary>
    public int? ProjectionChannels { get; init; }

    /// <summary>Whether the class vector stands beside the time embedding instead of being added.</summary>
    public bool ClassConcatenated { get; init; }

    /// <summary>Whether a pooled text and sizes are added to the time embedding (SDXL).</summary>
    public bool TextTime { get; init; }

    public int AdditionTimeChannels { get; init; }

    public bool ScaleShift { get; init; }

    public bool SkipTimeActivation { get; init; }

    public int TimeChannels { get; init; }

    public Unary? TimeEmbeddingActivation { get; init; }

    public Unary? TimestepPostActivation { get; init; }

    /// <summary>Width of the vector of timestep_cond, such as an embedded guidance weight; 0 where there is none.</summary>
    public int TimeConditionChannels { get; init; }

    public int ConvInKernel { get; init; }

    public int ConvOutKernel { get; init; }

    /// <summary>Width of the embedding that the residual blocks read.</summary>
    public int BlockTimeChannels => ClassConcatenated && ClassEmbedding != ConditionClassKind.None ? 2 * TimeChannels : TimeChannels;

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static UNet2DConditionConfig Read(ConfigFile f) => Read(f, up: true);

    /// <summary>The part that a ControlNet has.</summary>
    public static UNet2DConditionConfig ReadEncoder(ConfigFile f) => Read(f, up: false);

    private static UNet2DConditionConfig Read(ConfigFile f, bool up)
    {
        int[] widths = f.GetOptionalInts("block_out_channels", 1, MaximumChannels) ?? [320, 640, 1280, 1280];
        if (widths.Length is 0 or > 12) throw new ModelFileException(f.Path, "block_out_channels", $"expected 1 to 12 levels, found {widths.Length}");
        int levels = widths.Length;
        Refuse(f);
        bool[] down = Kinds(f, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", last: true, levels);
        bool[] onlyCross = f.IsBool("only_cross_attention") ? [.. Enumerable.Repeat(f.GetBool("only_cross_attention", false), levels)] : f.GetOptionalBools("only_cross_attention") ?? new bool[levels];
        if (onlyCross.Length != levels) throw new ModelFileException(f.Path, "only_cross_attention", $"expected {levels} entries as in block_out_channels, found {onlyCross.Length}");
        var (height, width) = SampleSize(f);
        bool textTime = f.GetWord("addition_embed_type", "", "", "text_time") == "text_time";
        var config = new UNet2DConditionConfig
        {
            InChannels = f.GetInt("in_channels", 4, 1, MaximumChannels),
            OutChannels = f.GetInt("out_channels", 4, 1, MaximumChannels),
            SampleHeight = height,
            SampleWidth = width,
            CenterInput = f.GetBool("center_input_sample", false),
            FlipSinToCos = f.GetBool("flip_sin_to_cos", true),
            FrequencyShift = f.GetDouble("freq_shift", 0, 0, 1000),
            DownCross = down,
            UpCross = up ? Kinds(f, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", last: false, levels) : [],
            Middle = f.HasKey("mid_block_type") && !f.Has("mid_block_type")
                ? MiddleKind.None
                : f.GetWord("mid_block_type", "UNetMidBlock2DCrossAttn", "UNetMidBlock2DCrossAttn", "UNetMidBlock2D") == "UNetMidBlock2D" ? MiddleKind.Residual : MiddleKind.CrossAttention,
            OnlyCross = onlyCross,
            MiddleOnlyCross = f.GetBool("mid_block_only_cross_attention", f.IsBool("only_cross_attention") && onlyCross[0]),
            BlockOutChannels = widths,
            LayersPerBlock = PerLevel(f, "layers_per_block", 2, levels, MaximumLayers),
            DownsamplePadding = f.GetInt("downsample_padding", 1, 0, 1),
            MidBlockScaleFactor = f.GetDouble("mid_block_scale_factor", 1, 1e-6, 1e6),
            Activation = Function(f, "act_fn") ?? Unary.Silu,
            NormGroups = f.GetInt("norm_num_groups", 32, 1, MaximumChannels),
            NormEpsilon = f.GetDouble("norm_eps", 1e-5, 0, 1),
            ContextChannels = PerLevel(f, "cross_attention_dim", 1280, levels, MaximumChannels),
            EncoderHiddenChannels = f.GetOptionalInt("encoder_hid_dim", 1, MaximumChannels),
            TransformerDepth = PerLevel(f, "transformer_layers_per_block", 1, levels, MaximumLayers),
            UpTransformerDepth = f.Has("reverse_transformer_layers_per_block") ? PerLevel(f, "reverse_transformer_layers_per_block", 1, levels, MaximumLayers) : null,
            Heads = PerLevel(f, "attention_head_dim", 8, levels, MaximumChannels),
            ClassEmbedding = Classes(f),
            NumClassEmbeds = f.GetOptionalInt("num_class_embeds", 1, 1 << 24),
            ProjectionChannels = f.GetOptionalInt("projection_class_embeddings_input_dim", 1, MaximumChannels),
            ClassConcatenated = f.GetBool("class_embeddings_concat", false),
            TextTime = textTime,
            AdditionTimeChannels = textTime ? f.GetInt("addition_time_embed_dim", null, 2, MaximumChannels) : 0,
            ScaleShift = f.GetWord("resnet_time_scale_shift", "default", "default", "scale_shift") == "scale_shift",
            SkipTimeActivation = f.GetBool("resnet_skip_time_act", false),
            TimeChannels = f.GetOptionalInt("time_embedding_dim", 1, MaximumChannels) ?? 4 * widths[0],
            TimeEmbeddingActivation = Function(f, "time_embedding_act_fn"),
            TimestepPostActivation = Function(f, "timestep_post_act"),
            TimeConditionChannels = f.GetOptionalInt("time_cond_proj_dim", 1, MaximumChannels) ?? 0,
            ConvInKernel = f.GetInt("conv_in_kernel", 3, 1, 15),
            ConvOutKernel = f.GetInt("conv_out_kernel", 3, 1, 15),
        };
        Check(f, config);
        return config;
    }

    // Fields whose other values are networks that are not built here.
    private static void Refuse(ConfigFile f)
    {
        f.GetWord("time_embedding_type", "positional", "positional");
        f.GetWord("attention_type", "default", "default");
        f.GetWord("encoder_hid_dim_type", "text_proj", "text_proj");
        if (f.GetBool("dual_cross_attention", false)) throw new ModelFileException(f.Path, "dual_cross_attention", "expected false; two contexts are not supported");
        if (f.HasKey("norm_num_groups") && !f.Has("norm_num_groups")) throw new ModelFileException(f.Path, "norm_num_groups", "expected a number, found null; a network without a norm before its last convolution is not supported");
        foreach (string field in (ReadOnlySpan<string>)["num_attention_heads", "cross_attention_norm"])
            if (f.Has(field)) throw new ModelFileException(f.Path, field, "expected null; other values are not supported");
    }

    private static ConditionClassKind Classes(ConfigFile f) => f.GetWord("class_embed_type", "", "", "timestep", "identity", "projection", "simple_projection") switch
    {
        "timestep" => ConditionClassKind.Timestep,
        "identity" => ConditionClassKind.Identity,
        "projection" => ConditionClassKind.Projection,
        "simple_projection" => ConditionClassKind.SimpleProjection,
        _ => f.Has("num_class_embeds") ? ConditionClassKind.Table : ConditionClassKind.None,
    };

    private static Unary? Function(ConfigFile f, string field) => !f.Has(field) ? null : f.GetWord(field, null, "silu", "swish", "gelu", "relu") switch
    {
        "gelu" => Unary.Gelu,
        "relu" => Unary.Relu,
        _ => Unary.Silu,
    };

    private static int[] PerLevel(ConfigFile f, string field, int fallback, int levels, int maximum)
    {
        if (!f.IsArray(field)) return [.. Enumerable.Repeat(f.GetInt(field, fallback, 1, maximum), levels)];
        int[] values = f.GetOptionalInts(field, 1, maximum)!;
        return values.Length == levels ? values : throw new ModelFileException(f.Path, field, $"expected {levels} numbers as in block_out_channels, found {values.Length}");
    }

    private static bool[] Kinds(ConfigFile f, string field, string cross, string plain, bool last, int levels)
    {
        // Without the field: attention everywhere but at the coarsest level.
        string[] names = f.GetOptionalStrings(field) ?? [.. Enumerable.Range(0, levels).Select(i => i == (last ? levels - 1 : 0) ? plain : cross)];
        if (names.Length != levels) throw new ModelFileException(f.Path, field, $"expected {levels} block types as in block_out_channels, found {names.Length}");
        return Array.ConvertAll(names, n => n == cross || (n == plain ? false : throw new ModelFileException(f.Path, field, $"'{n}' is not supported{Suggestion.Hint(n, [cross, plain])}")));
    }

    private static (int? Height, int? Width) SampleSize(ConfigFile f)
    {
        if (!f.Has("sample_size")) return (null, null);
        if (!f.IsArray("sample_size")) return (f.GetInt("sample_size", null, 1, MaximumSide), f.GetInt("sample_size", null, 1, MaximumSide));
        int[] size = f.GetOptionalInts("sample_size", 1, MaximumSide)!;
        return size.Length == 2 ? (size[0], size[1]) : throw new ModelFileException(f.Path, "sample_size", $"expected 2 numbers, found {size.Length}");
    }

    private static void Check(ConfigFile f, UNet2DConditionConfig c)
    {
        for (int i = 0; i < c.BlockOutChannels.Length; i++)
        {
            int width = c.BlockOutChannels[i];
            if (width % c.NormGroups != 0) throw new ModelFileException(f.Path, "norm_num_groups", $"{c.NormGroups} groups do not divide {width} channels");
            bool attends = c.DownCross[i] || (c.UpCross.Length > 0 && c.UpCross[^(i + 1)]) || (i == c.BlockOutChannels.Length - 1 && c.Middle == MiddleKind.CrossAttention);
            if (attends && width % c.Heads[i] != 0) throw new ModelFileException(f.Path, "attention_head_dim", $"{c.Heads[i]} heads do not divide {width} channels");
        }

        if (c.BlockOutChannels[0] < 2) throw new ModelFileException(f.Path, "block_out_channels", "expected a first width of at least 2, found 1");
        if (c.FrequencyShift > 0 && c.FrequencyShift >= c.BlockOutChannels[0] / 2)
            throw new ModelFileException(f.Path, "freq_shift", FormattableString.Invariant($"expected less than {c.BlockOutChannels[0] / 2}, half of the first width, found {c.FrequencyShift}"));
        bool projected = c.TextTime || c.ClassEmbedding is ConditionClassKind.Projection or ConditionClassKind.SimpleProjection;
        if (projected && c.ProjectionChannels is null)
            throw new ModelFileException(f.Path, "projection_class_embeddings_input_dim", "expected a number: the added embedding needs it");
        if (c.ConvInKernel % 2 == 0) throw new ModelFileException(f.Path, "conv_in_kernel", $"expected an odd number, found {c.ConvInKernel}");
        if (c.ConvOutKernel % 2 == 0) throw new ModelFileException(f.Path, "conv_out_kernel", $"expected an odd number, found {c.ConvOutKernel}");
        if (c.EncoderHiddenChannels is not null && c.ContextChannels.Distinct().Count() > 1)
            throw new ModelFileException(f.Path, "cross_attention_dim", "expected one width for all levels where encoder_hid_dim is set");
    }
}
