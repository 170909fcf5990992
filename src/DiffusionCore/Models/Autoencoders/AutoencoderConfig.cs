using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>The fields that AutoencoderKL and VQModel share in diffusers' config.json, or the authors' ddconfig, checked.</summary>
/// <param name="EncoderOutputs">Channels of the encoder's result: twice the latent's where it holds mean and log variance.</param>
public sealed record AutoencoderConfig(AutoencoderLayout Layout, int InChannels, int OutChannels, int LatentChannels, int EncoderOutputs)
{
    private const int MaximumChannels = 1 << 16;

    /// <summary>The authors normalise in 32 groups whatever the width.</summary>
    private const int AuthorsGroups = 32;

    /// <summary>The denoiser's latents are (z - ShiftFactor) * ScalingFactor.</summary>
    public double ScalingFactor { get; init; } = 1;

    public double ShiftFactor { get; init; }

    /// <summary>Reads diffusers' names.</summary>
    /// <param name="scalingFactor">Where the file gives none.</param>
    public static AutoencoderConfig Read(ConfigFile f, bool posterior, double scalingFactor)
    {
        int[] widths = Required(f, "block_out_channels");
        string[] down = f.GetOptionalStrings("down_block_types") ?? ["DownEncoderBlock2D"], up = f.GetOptionalStrings("up_block_types") ?? ["UpDecoderBlock2D"];
        if (down.Length != widths.Length) throw new ModelFileException(f.Path, "down_block_types", $"expected {widths.Length} blocks as in block_out_channels, found {down.Length}");
        if (up.Length != widths.Length) throw new ModelFileException(f.Path, "up_block_types", $"expected {widths.Length} blocks as in block_out_channels, found {up.Length}");
        var attention = new bool[widths.Length];
        for (int i = 0; i < widths.Length; i++)
        {
            attention[i] = HasAttention(f, "down_block_types", down[i], "DownEncoderBlock2D", "AttnDownEncoderBlock2D");
            if (HasAttention(f, "up_block_types", up[^(i + 1)], "UpDecoderBlock2D", "AttnUpDecoderBlock2D") != attention[i])
                throw new ModelFileException(f.Path, "up_block_types", $"'{up[^(i + 1)]}' does not mirror '{down[i]}' of down_block_types; both ways must have attention at the same levels");
        }

        f.GetWord("act_fn", "silu", "silu", "swish");
        f.GetWord("norm_type", "group", "group");
        int groups = f.GetInt("norm_num_groups", 32), latent = f.GetInt("latent_channels", 4, 1, MaximumChannels);
        CheckGroups(f, "norm_num_groups", widths, groups);
        return new AutoencoderConfig(
            new AutoencoderLayout(widths[0], widths, f.GetInt("layers_per_block", 1, 1, 64), groups, attention, f.GetBool("mid_block_add_attention", true)),
            f.GetInt("in_channels", 3, 1, MaximumChannels), f.GetInt("out_channels", 3, 1, MaximumChannels), latent, posterior ? 2 * latent : latent)
        {
            ScalingFactor = Positive(f, "scaling_factor", scalingFactor),
            ShiftFactor = f.GetDouble("shift_factor", 0),
        };
    }

    /// <summary>Reads the authors' names: the object that their configurations call ddconfig.</summary>
    public static AutoencoderConfig ReadAuthors(ConfigFile f)
    {
        int stem = f.GetInt("ch", null, 1, MaximumChannels), latent = f.GetInt("z_channels", null, 1, MaximumChannels);
        int[] widths = Array.ConvertAll(Required(f, "ch_mult"), m => checked(stem * m));
        var layout = AuthorsLayout(f, stem, widths);
        return new AutoencoderConfig(
            layout, f.GetInt("in_channels", null, 1, MaximumChannels), f.GetInt("out_ch", null, 1, MaximumChannels), latent, f.GetBool("double_z", true) ? 2 * latent : latent);
    }

    /// <summary>The levels of a ddconfig, where attention is given by resolution.</summary>
    internal static AutoencoderLayout AuthorsLayout(ConfigFile f, int stem, int[] widths)
    {
        CheckGroups(f, "ch", [stem, .. widths], AuthorsGroups);
        if (f.GetBool("give_pre_end", false)) throw new ModelFileException(f.Path, "give_pre_end", "is not supported; expected false");
        if (f.GetBool("tanh_out", false)) throw new ModelFileException(f.Path, "tanh_out", "is not supported; expected false");
        if (!f.GetBool("resamp_with_conv", true)) throw new ModelFileException(f.Path, "resamp_with_conv", "is not supported; expected true");
        bool attends = f.GetWord("attn_type", "vanilla", "vanilla", "none") == "vanilla";
        int[] at = f.GetOptionalInts("attn_resolutions") ?? [];
        int resolution = f.GetInt("resolution", null, 1, 1 << 20);
        var attention = new bool[widths.Length];
        for (int i = 0; i < widths.Length; i++) attention[i] = attends && at.Contains(resolution >> i);
        return new AutoencoderLayout(stem, widths, f.GetInt("num_res_blocks", null, 1, 64), AuthorsGroups, attention, attends);
    }

    internal static int[] Required(ConfigFile f, string name)
    {
        int[] values = f.GetOptionalInts(name, 1, MaximumChannels) ?? throw new ModelFileException(f.Path, name, "expected an array of whole numbers, found nothing");
        return values.Length is >= 1 and <= 16 ? values : throw new ModelFileException(f.Path, name, $"expected 1 to 16 numbers, found {values.Length}");
    }

    internal static double Positive(ConfigFile f, string name, double fallback)
    {
        double v = f.GetDouble(name, fallback);
        return v > 0 && double.IsFinite(v) ? v : throw new ModelFileException(f.Path, name, $"expected a positive number, found {v}");
    }

    private static void CheckGroups(ConfigFile f, string name, int[] widths, int groups)
    {
        foreach (int w in widths)
            if (w % groups != 0) throw new ModelFileException(f.Path, name, $"{groups} groups of the norms do not divide {w} channels");
    }

    private static bool HasAttention(ConfigFile f, string field, string type, string plain, string attends) =>
        type == attends || (type == plain ? false : throw new ModelFileException(f.Path, field, $"'{type}' is not supported{Suggestion.Hint(type, [plain, attends])}"));
}
