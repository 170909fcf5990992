using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>How the image itself reaches the features on the way down.</summary>
public enum ScorePyramid
{
    None,
    Skip,
    Residual,
}

/// <summary>The configuration of yang-song/score_sde's NCSN++ and DDPM++, checked. The file holds the authors' whole configuration under "config".</summary>
public sealed record ScoreConfig
{
    private const int MaximumChannels = 1 << 16;

    /// <summary>Height and width that attn_resolutions speak of.</summary>
    public int ImageSize { get; init; }

    public int Channels { get; init; }

    /// <summary>Whether images are in [-1, 1]; where false, the network maps [0, 1] there itself.</summary>
    public bool Centered { get; init; }

    public int Features { get; init; }

    public required int[] Widths { get; init; }

    public int ResBlocks { get; init; }

    public required int[] AttentionAt { get; init; }

    /// <summary>Whether the network is told the noise level.</summary>
    public bool Conditional { get; init; }

    public bool Fourier { get; init; }

    /// <summary>Null: nearest neighbour up and means of 2x2 down.</summary>
    public double[]? Filter { get; init; }

    /// <summary>Whether every sum of two is divided by sqrt(2).</summary>
    public bool Rescale { get; init; }

    public ScorePyramid Input { get; init; }

    /// <summary>Whether the image is built up along the way up.</summary>
    public bool OutputSkip { get; init; }

    /// <summary>Whether the input pyramid is added, rather than put beside the features.</summary>
    public bool CombineBySum { get; init; }

    public bool DivideBySigma { get; init; }

    /// <summary>Noise levels of the table "sigmas".</summary>
    public int Scales { get; init; }

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static ScoreConfig Read(ConfigFile f)
    {
        var config = Section(f, "config");
        ConfigFile data = Section(config, "data"), model = Section(config, "model");
        model.GetWord("name", "ncsnpp", "ncsnpp");
        model.GetWord("normalization", "GroupNorm", "GroupNorm");
        model.GetWord("nonlinearity", "swish", "swish");
        model.GetWord("resblock_type", "biggan", "biggan");
        if (model.GetInt("conv_size", 3, 1, 15) != 3) throw new ModelFileException(f.Path, "conv_size", "expected 3; other sizes are not supported");
        if (!model.GetBool("resamp_with_conv", true)) throw new ModelFileException(f.Path, "resamp_with_conv", "expected true; other values are not supported");
        int features = model.GetInt("nf", null, 4, MaximumChannels);
        int[] mult = model.GetOptionalInts("ch_mult", 1, 1024) ?? throw new ModelFileException(f.Path, "ch_mult", "expected an array of whole numbers, found nothing");
        int size = data.GetInt("image_size", null, 1, 1 << 16);
        if (mult.Length is 0 or > 12 || size >> (mult.Length - 1) == 0) throw new ModelFileException(f.Path, "ch_mult", $"expected 1 to 12 levels that {size} pixels can be halved to, found {mult.Length}");
        double[]? filter = model.GetBool("fir", false) ? model.GetOptionalDoubles("fir_kernel") ?? [1, 3, 3, 1] : null;
        if (filter is not null && FirFilter.Problem(filter) is { } problem) throw new ModelFileException(f.Path, "fir_kernel", problem);
        var input = model.GetWord("progressive_input", "none", "none", "input_skip", "residual") switch
        {
            "input_skip" => ScorePyramid.Skip,
            "residual" => ScorePyramid.Residual,
            _ => ScorePyramid.None,
        };
        return new ScoreConfig
        {
            ImageSize = size,
            Channels = data.GetInt("num_channels", 3, 1, MaximumChannels),
            Centered = data.GetBool("centered", false),
            Features = features,
            Widths = Array.ConvertAll(mult, m => checked(m * features)),
            ResBlocks = model.GetInt("num_res_blocks", null, 1, 64),
            AttentionAt = model.GetOptionalInts("attn_resolutions", 1, 1 << 16) ?? throw new ModelFileException(f.Path, "attn_resolutions", "expected an array of whole numbers, found nothing"),
            Conditional = model.GetBool("conditional", true),
            Fourier = model.GetWord("embedding_type", "fourier", "fourier", "positional") == "fourier",
            Filter = filter,
            Rescale = model.GetBool("skip_rescale", true),
            Input = input,
            OutputSkip = model.GetWord("progressive", "none", "none", "output_skip") == "output_skip",
            CombineBySum = model.GetWord("progressive_combine", "sum", "sum", "cat") == "sum",
            DivideBySigma = model.GetBool("scale_by_sigma", false),
            Scales = model.GetInt("num_scales", 1000, 1, 1 << 20),
        };
    }

    private static ConfigFile Section(ConfigFile f, string name) => f.GetOptionalObject(name) ?? throw new ModelFileException(f.Path, name, "expected an object, found nothing");
}
