using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>How the image itself is carried beside the features.</summary>
public enum EdmSide
{
    Standard,
    Skip,
    Residual,
}

/// <summary>The arguments of the networks of NVlabs/edm, checked.</summary>
public sealed record EdmConfig
{
    internal const int MaximumChannels = 1 << 16;

    /// <summary>Height and width that the blocks' names speak of.</summary>
    public int Resolution { get; init; }

    public int ImageChannels { get; init; }

    public int OutChannels { get; init; }

    /// <summary>Width of the class vector; 0 where the network takes none.</summary>
    public int LabelChannels { get; init; }

    public int AugmentChannels { get; init; }

    /// <summary>SongUNet (DDPM++, NCSN++) or, where false, DhariwalUNet (ADM).</summary>
    public bool Song { get; init; }

    public int ModelChannels { get; init; }

    public required int[] Widths { get; init; }

    public int EmbeddingChannels { get; init; }

    public int NoiseChannels { get; init; }

    public int Blocks { get; init; }

    public required int[] AttentionAt { get; init; }

    public bool Fourier { get; init; }

    public EdmSide Encoder { get; init; }

    public EdmSide Decoder { get; init; }

    public required double[] Filter { get; init; }

    /// <summary>What the network was trained with, by its class.</summary>
    public EdmPreconditioning Preconditioning { get; init; }

    public double SigmaData { get; init; }

    /// <summary>Of the variance-preserving schedule.</summary>
    public double BetaRange { get; init; }

    public double BetaMinimum { get; init; }

    /// <summary>Number of noise levels that a network for discrete steps knows.</summary>
    public int Steps { get; init; }

    /// <param name="learnedVariance">Whether the network gives as many channels again, which are not used.</param>
    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static EdmConfig Read(ConfigFile f, bool learnedVariance)
    {
        bool song = f.GetWord("model_type", learnedVariance ? "DhariwalUNet" : null, "SongUNet", "DhariwalUNet") == "SongUNet";
        int channels = f.GetInt("img_channels", null, 1, MaximumChannels), model = f.GetInt("model_channels", song ? 128 : 192, 2, MaximumChannels);
        int[] mult = f.GetOptionalInts("channel_mult", 1, 1024) ?? (song ? [1, 2, 2, 2] : [1, 2, 3, 4]);
        if (mult.Length is 0 or > 12) throw new ModelFileException(f.Path, "channel_mult", $"expected 1 to 12 factors, found {mult.Length}");
        int resolution = f.GetInt("img_resolution", null, 1, 1 << 16);
        if (resolution >> (mult.Length - 1) == 0) throw new ModelFileException(f.Path, "img_resolution", $"expected at least {1 << (mult.Length - 1)} for {mult.Length} levels, found {resolution}");
        double[] filter = f.GetOptionalDoubles("resample_filter") ?? [1, 1];
        if (FirFilter.Problem(filter) is { } problem) throw new ModelFileException(f.Path, "resample_filter", problem);
        if (!song)
        {
            foreach (string field in (ReadOnlySpan<string>)["embedding_type", "encoder_type", "decoder_type", "channel_mult_noise", "resample_filter"])
                if (f.Has(field)) throw new ModelFileException(f.Path, field, "is given, but DhariwalUNet does not take it");
        }

        return new EdmConfig
        {
            Resolution = resolution,
            ImageChannels = channels,
            OutChannels = learnedVariance ? 2 * channels : channels,
            LabelChannels = f.GetInt("label_dim", 0, 0, MaximumChannels),
            AugmentChannels = f.GetInt("augment_dim", 0, 0, MaximumChannels),
            Song = song,
            ModelChannels = model,
            Widths = Array.ConvertAll(mult, m => checked(m * model)),
            EmbeddingChannels = model * f.GetInt("channel_mult_emb", 4, 1, 64),
            NoiseChannels = song ? model * f.GetInt("channel_mult_noise", 1, 1, 64) : model,
            Blocks = f.GetInt("num_blocks", song ? 4 : 3, 1, 64),
            AttentionAt = f.GetOptionalInts("attn_resolutions", 1, 1 << 16) ?? (song ? [16] : [32, 16, 8]),
            Fourier = song && f.GetWord("embedding_type", "positional", "positional", "fourier") == "fourier",
            Encoder = song ? Side(f, "encoder_type", "standard", "skip", "residual") : EdmSide.Standard,
            Decoder = song ? Side(f, "decoder_type", "standard", "skip") : EdmSide.Standard,
            Filter = filter,
            Preconditioning = f.ClassName switch
            {
                "VPPrecond" => EdmPreconditioning.VariancePreserving,
                "VEPrecond" => EdmPreconditioning.VarianceExploding,
                _ => EdmPreconditioning.Edm,
            },
            SigmaData = f.GetDouble("sigma_data", 0.5, 1e-6, 1e6),
            BetaRange = f.GetDouble("beta_d", 19.9, 1e-6, 1e6),
            BetaMinimum = f.GetDouble("beta_min", 0.1, 0, 1e6),
            Steps = f.GetInt("M", 1000, 1, 1 << 20),
        };
    }

    private static EdmSide Side(ConfigFile f, string field, params string[] known) => f.GetWord(field, "standard", known) switch
    {
        "skip" => EdmSide.Skip,
        "residual" => EdmSide.Residual,
        _ => EdmSide.Standard,
    };
}
