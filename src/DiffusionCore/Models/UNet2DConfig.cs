using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

public enum TimeEmbeddingKind
{
    Positional,
    Fourier,
    Learned,
}

public enum ClassEmbeddingKind
{
    None,
    Table,
    Timestep,
    Identity,
}

/// <summary>What the name of a block type says.</summary>
/// <param name="Attention">Self-attention after each residual block (after the last, in a skip block on the way up).</param>
/// <param name="Skip">Carries the image along and mixes it in at each level (score networks).</param>
/// <param name="ResnetResample">Changes resolution by a residual block instead of a convolution.</param>
public sealed record BlockKind(bool Attention, bool Skip, bool ResnetResample);

/// <summary>The fields of a UNet2DModel's config.json, checked.</summary>
public sealed record UNet2DConfig
{
    private const int MaximumChannels = 1 << 16;

    private static readonly Dictionary<string, BlockKind> DownKinds = new(StringComparer.Ordinal)
    {
        ["DownBlock2D"] = new(false, false, false),
        ["AttnDownBlock2D"] = new(true, false, false),
        ["ResnetDownsampleBlock2D"] = new(false, false, true),
        ["SkipDownBlock2D"] = new(false, true, false),
        ["AttnSkipDownBlock2D"] = new(true, true, false),
    };

    private static readonly Dictionary<string, BlockKind> UpKinds = new(StringComparer.Ordinal)
    {
        ["UpBlock2D"] = new(false, false, false),
        ["AttnUpBlock2D"] = new(true, false, false),
        ["ResnetUpsampleBlock2D"] = new(false, false, true),
        ["SkipUpBlock2D"] = new(false, true, false),
        ["AttnSkipUpBlock2D"] = new(true, true, false),
    };

    public required int InChannels { get; init; }

    public required int OutChannels { get; init; }

    /// <summary>Height and width that the network was trained at; null where the file does not say.</summary>
    public int? SampleHeight { get; init; }

    public int? SampleWidth { get; init; }

    public bool CenterInput { get; init; }

    public TimeEmbeddingKind TimeEmbedding { get; init; }

    public int? TimeEmbeddingDim { get; init; }

    public double FrequencyShift { get; init; }

    public bool FlipSinToCos { get; init; }

    public required BlockKind[] DownBlocks { get; init; }

    public required BlockKind[] UpBlocks { get; init; }

    public bool MidBlock { get; init; } = true;

    public required int[] BlockOutChannels { get; init; }

    public int LayersPerBlock { get; init; }

    public double MidBlockScaleFactor { get; init; } = 1;

    public int DownsamplePadding { get; init; }

    public bool ResnetDownsample { get; init; }

    public bool ResnetUpsample { get; init; }

    public Unary Activation { get; init; }

    /// <summary>Channels of one attention head; null: one head.</summary>
    public int? AttentionHeadDim { get; init; }

    public int NormGroups { get; init; }

    public int? AttentionGroups { get; init; }

    public double NormEpsilon { get; init; }

    public bool ScaleShift { get; init; }

    public bool AddAttention { get; init; }

    public ClassEmbeddingKind ClassEmbedding { get; init; }

    public int? NumClassEmbeds { get; init; }

    public int? NumTrainTimesteps { get; init; }

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, or does not fit another.</exception>
    public static UNet2DConfig Read(ConfigFile f)
    {
        int[] widths = f.GetOptionalInts("block_out_channels", 1, MaximumChannels) ?? [224, 448, 672, 896];
        if (widths.Length is 0 or > 12) throw new ModelFileException(f.Path, "block_out_channels", $"expected 1 to 12 levels, found {widths.Length}");
        var down = Kinds(f, "down_block_types", DownKinds, ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"], widths.Length);
        var up = Kinds(f, "up_block_types", UpKinds, ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"], widths.Length);
        int groups = f.GetInt("norm_num_groups", 32, 1, MaximumChannels);
        int? headDim = f.HasKey("attention_head_dim") ? f.GetOptionalInt("attention_head_dim", 1, MaximumChannels) : 8;
        var classes = f.GetString("class_embed_type", "") switch
        {
            "" => f.Has("num_class_embeds") ? ClassEmbeddingKind.Table : ClassEmbeddingKind.None,
            "timestep" => ClassEmbeddingKind.Timestep,
            "identity" => ClassEmbeddingKind.Identity,
            var other => throw new ModelFileException(f.Path, "class_embed_type", $"'{other}' is not supported{Suggestion.Hint(other, ["timestep", "identity"])}"),
        };
        var (height, width) = SampleSize(f);
        var config = new UNet2DConfig
        {
            InChannels = f.GetInt("in_channels", 3, 1, MaximumChannels),
            OutChannels = f.GetInt("out_channels", 3, 1, MaximumChannels),
            SampleHeight = height,
            SampleWidth = width,
            CenterInput = f.GetBool("center_input_sample", false),
            TimeEmbedding = f.GetWord("time_embedding_type", "positional", "positional", "fourier", "learned") switch
            {
                "fourier" => TimeEmbeddingKind.Fourier,
                "learned" => TimeEmbeddingKind.Learned,
                _ => TimeEmbeddingKind.Positional,
            },
            TimeEmbeddingDim = f.GetOptionalInt("time_embedding_dim", 1, MaximumChannels),
            FrequencyShift = f.GetDouble("freq_shift", 0, 0, 1000),
            FlipSinToCos = f.GetBool("flip_sin_to_cos", true),
            DownBlocks = down,
            UpBlocks = up,
            MidBlock = !f.HasKey("mid_block_type") || (f.Has("mid_block_type") && f.GetWord("mid_block_type", null, "UNetMidBlock2D").Length > 0),
            BlockOutChannels = widths,
            LayersPerBlock = f.GetInt("layers_per_block", 2, 1, 64),
            MidBlockScaleFactor = f.GetDouble("mid_block_scale_factor", 1, 1e-6, 1e6),
            DownsamplePadding = f.GetInt("downsample_padding", 1, 0, 1),
            ResnetDownsample = f.GetWord("downsample_type", "conv", "conv", "resnet") == "resnet",
            ResnetUpsample = f.GetWord("upsample_type", "conv", "conv", "resnet") == "resnet",
            Activation = f.GetWord("act_fn", "silu", "silu", "swish", "gelu", "relu") switch
            {
                "gelu" => Unary.Gelu,
                "relu" => Unary.Relu,
                _ => Unary.Silu,
            },
            AttentionHeadDim = headDim,
            NormGroups = groups,
            AttentionGroups = f.GetOptionalInt("attn_norm_num_groups", 1, MaximumChannels),
            NormEpsilon = f.GetDouble("norm_eps", 1e-5, 0, 1),
            ScaleShift = f.GetWord("resnet_time_scale_shift", "default", "default", "scale_shift") == "scale_shift",
            AddAttention = f.GetBool("add_attention", true),
            ClassEmbedding = classes,
            NumClassEmbeds = f.GetOptionalInt("num_class_embeds", 1, 1 << 24),
            NumTrainTimesteps = f.GetOptionalInt("num_train_timesteps", 1, 1_000_000),
        };
        Check(f, config);
        return config;
    }

    private static (int? Height, int? Width) SampleSize(ConfigFile f)
    {
        if (!f.Has("sample_size")) return (null, null);
        if (!f.IsArray("sample_size")) return (f.GetInt("sample_size", null, 1, 1 << 16), f.GetInt("sample_size", null, 1, 1 << 16));
        int[] size = f.GetOptionalInts("sample_size", 1, 1 << 16)!;
        return size.Length == 2 ? (size[0], size[1]) : throw new ModelFileException(f.Path, "sample_size", $"expected 2 numbers, found {size.Length}");
    }

    private static BlockKind[] Kinds(ConfigFile f, string field, Dictionary<string, BlockKind> known, string[] fallback, int levels)
    {
        string[] names = f.GetOptionalStrings(field) ?? fallback;
        if (names.Length != levels) throw new ModelFileException(f.Path, field, $"expected {levels} block types as in block_out_channels, found {names.Length}");
        return Array.ConvertAll(names, n => known.TryGetValue(n, out var kind) ? kind : throw new ModelFileException(f.Path, field, $"'{n}' is not supported{Suggestion.Hint(n, known.Keys)}"));
    }

    private static void Check(ConfigFile f, UNet2DConfig c)
    {
        bool plainNorms = !(c.DownBlocks.All(k => k.Skip) && c.UpBlocks.All(k => k.Skip));
        foreach (int width in c.BlockOutChannels)
        {
            if (plainNorms && width % c.NormGroups != 0) throw new ModelFileException(f.Path, "norm_num_groups", $"{c.NormGroups} groups do not divide {width} channels");
        }

        for (int i = 0; i < c.DownBlocks.Length; i++)
        {
            int width = c.BlockOutChannels[i];
            bool attends = c.DownBlocks[i].Attention || c.UpBlocks[^(i + 1)].Attention || (i == c.DownBlocks.Length - 1 && c.AddAttention && c.MidBlock);
            if (attends && c.AttentionHeadDim is { } d && width % d != 0) throw new ModelFileException(f.Path, "attention_head_dim", $"{d} does not divide {width} channels");
        }

        if (c.MidBlock && c.AddAttention && c.AttentionGroups is { } g && c.BlockOutChannels[^1] % g != 0)
            throw new ModelFileException(f.Path, "attn_norm_num_groups", $"{g} groups do not divide {c.BlockOutChannels[^1]} channels");

        // Skip blocks mix in an RGB image and give one; the last level changes no resolution and has no such path.
        if (c.DownBlocks[..^1].Any(k => k.Skip) && c.InChannels != 3) throw new ModelFileException(f.Path, "in_channels", $"expected 3 with skip blocks, found {c.InChannels}");
        if (c.UpBlocks[..^1].Any(k => k.Skip) && c.OutChannels != 3) throw new ModelFileException(f.Path, "out_channels", $"expected 3 with skip blocks, found {c.OutChannels}");

        // Frequencies are 10000^(-k / (half - shift)).
        int half = c.BlockOutChannels[0] / 2;
        if (c.TimeEmbedding == TimeEmbeddingKind.Positional && c.FrequencyShift > 0 && c.FrequencyShift >= half)
            throw new ModelFileException(f.Path, "freq_shift", FormattableString.Invariant($"expected less than {half}, half of the first width, found {c.FrequencyShift}"));
        if (c.TimeEmbedding == TimeEmbeddingKind.Learned && c.NumTrainTimesteps is null)
            throw new ModelFileException(f.Path, "num_train_timesteps", "expected a number: a learned time embedding needs it");
    }
}
