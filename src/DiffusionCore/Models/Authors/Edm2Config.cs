using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>The arguments of the networks of NVlabs/edm2, checked.</summary>
public sealed record Edm2Config
{
    private const int MaximumChannels = 1 << 16;

    public int Resolution { get; init; }

    public int ImageChannels { get; init; }

    /// <summary>Width of the class vector; 0 where the network takes none.</summary>
    public int LabelChannels { get; init; }

    public double SigmaData { get; init; }

    /// <summary>Width of the estimate of the loss.</summary>
    public int LogVarianceChannels { get; init; }

    public required int[] Widths { get; init; }

    public int NoiseChannels { get; init; }

    public int EmbeddingChannels { get; init; }

    public int Blocks { get; init; }

    public required int[] AttentionAt { get; init; }

    public int HeadChannels { get; init; }

    public double LabelBalance { get; init; }

    public double ConcatBalance { get; init; }

    public double ResidualBalance { get; init; }

    public double AttentionBalance { get; init; }

    /// <summary>Bound of the activations after each block; 0 for none.</summary>
    public double Clip { get; init; }

    public required double[] Filter { get; init; }

    /// <exception cref="ModelFileException">A field is missing, of the wrong type, out of range, not supported, or does not fit another.</exception>
    public static Edm2Config Read(ConfigFile f)
    {
        int model = f.GetInt("model_channels", 192, 1, MaximumChannels);
        int[] mult = f.GetOptionalInts("channel_mult", 1, 1024) ?? [1, 2, 3, 4];
        if (mult.Length is 0 or > 12) throw new ModelFileException(f.Path, "channel_mult", $"expected 1 to 12 factors, found {mult.Length}");
        int resolution = f.GetInt("img_resolution", null, 1, 1 << 16);
        if (resolution >> (mult.Length - 1) == 0) throw new ModelFileException(f.Path, "img_resolution", $"expected at least {1 << (mult.Length - 1)} for {mult.Length} levels, found {resolution}");
        double[] filter = f.GetOptionalDoubles("resample_filter") ?? [1, 1];
        if (FirFilter.Problem(filter) is { } problem) throw new ModelFileException(f.Path, "resample_filter", problem);
        int[] widths = Array.ConvertAll(mult, m => checked(m * model));
        return new Edm2Config
        {
            Resolution = resolution,
            ImageChannels = f.GetInt("img_channels", null, 1, MaximumChannels),
            LabelChannels = f.GetInt("label_dim", 0, 0, MaximumChannels),
            SigmaData = f.GetDouble("sigma_data", 0.5, 1e-6, 1e6),
            LogVarianceChannels = f.GetInt("logvar_channels", 128, 1, MaximumChannels),
            Widths = widths,
            NoiseChannels = f.GetOptionalInt("channel_mult_noise", 1, 1024) * model ?? widths[0],
            EmbeddingChannels = f.GetOptionalInt("channel_mult_emb", 1, 1024) * model ?? widths.Max(),
            Blocks = f.GetInt("num_blocks", 3, 1, 64),
            AttentionAt = f.GetOptionalInts("attn_resolutions", 1, 1 << 16) ?? [16, 8],
            HeadChannels = f.GetInt("channels_per_head", 64, 1, MaximumChannels),
            LabelBalance = f.GetDouble("label_balance", 0.5, 0, 1),
            ConcatBalance = f.GetDouble("concat_balance", 0.5, 0, 1),
            ResidualBalance = f.GetDouble("res_balance", 0.3, 0, 1),
            AttentionBalance = f.GetDouble("attn_balance", 0.3, 0, 1),
            Clip = f.GetDouble("clip_act", 256, 0, 1e30),
            Filter = filter,
        };
    }
}
