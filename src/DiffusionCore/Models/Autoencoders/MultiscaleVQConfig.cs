using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Models;

/// <summary>The fields of the authors' configuration of a multi-scale VQGAN, checked. Per-level lists start with the coarsest level.</summary>
/// <param name="Encoder">The encoder's levels, from the finest; the deepest ones give a feature map each.</param>
/// <param name="Decoder">The decoder's levels, from the finest.</param>
/// <param name="Shared">The small decoder that brings the coarser levels into a finer one.</param>
/// <param name="FeatureChannels">Channels of the encoder's feature maps.</param>
/// <param name="EmbedChannels">Channels of a level's latent and width of its codes.</param>
public sealed record MultiscaleVQConfig(
    AutoencoderLayout Encoder, AutoencoderLayout Decoder, AutoencoderLayout Shared, int InChannels, int OutChannels, int DecoderChannels, int[] FeatureChannels, int[] EmbedChannels, int[] Codes)
{
    // Every published model has two levels; how more would be brought together is not known.
    private const int KnownLevels = 2;

    // Written into the authors' code.
    private const int SharedWidth = 128, SharedBlocks = 2;

    public static MultiscaleVQConfig Read(ConfigFile f)
    {
        var ed = f.GetOptionalObject("edconfig") ?? throw new ModelFileException(f.Path, "edconfig", "expected an object, found nothing");
        var dd = f.GetOptionalObject("ddconfig") ?? throw new ModelFileException(f.Path, "ddconfig", "expected an object, found nothing");
        int[] embed = AutoencoderConfig.Required(f, "embed_dim"), codes = AutoencoderConfig.Required(f, "n_embed"), features = AutoencoderConfig.Required(ed, "z_channels");
        int levels = ed.GetInt("multiscale", null, KnownLevels, KnownLevels);
        foreach (var (name, list) in new[] { ("embed_dim", embed), ("n_embed", codes), ("edconfig.z_channels", features) })
            if (list.Length != levels) throw new ModelFileException(f.Path, name, $"expected {levels} numbers as edconfig.multiscale says, found {list.Length}");
        if (ed.GetBool("double_z", false)) throw new ModelFileException(f.Path, "edconfig.double_z", "expected false");
        int stem = ed.GetInt("ch", null, 1, 1 << 16);
        int[] widths = Array.ConvertAll(AutoencoderConfig.Required(ed, "ch_mult"), m => checked(stem * m));
        if (widths.Length < levels) throw new ModelFileException(f.Path, "edconfig.ch_mult", $"expected at least {levels} numbers as edconfig.multiscale says, found {widths.Length}");
        var decoder = AutoencoderConfig.ReadAuthors(dd);
        int outputs = dd.GetInt("z_channels", null, 1, 1 << 16);
        var encoder = AutoencoderConfig.AuthorsLayout(ed, stem, widths);
        if (encoder.Factor >> (levels - 1) != decoder.Layout.Factor)
            throw new ModelFileException(f.Path, "ddconfig.ch_mult", $"the decoder enlarges {decoder.Layout.Factor} times, the finest latent of edconfig is {encoder.Factor >> (levels - 1)} times smaller than the image");
        return new(
            encoder, decoder.Layout, new AutoencoderLayout(SharedWidth, [SharedWidth], SharedBlocks, encoder.Groups, [false], MiddleAttention: true),
            ed.GetInt("in_channels", null, 1, 1 << 16), decoder.OutChannels, outputs, features, embed, codes);
    }
}
