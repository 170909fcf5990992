using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>What a single-file checkpoint holds.</summary>
public enum SingleFileKind
{
    Sd1,
    Sd1Inpaint,
    InstructPix2Pix,
    Sd2,
    Sd2Inpaint,
    Sdxl,
    SdxlInpaint,
    SdxlRefiner,
    ControlNet,
    Sd3,
    Flux,
}

/// <summary>Tells single files apart by keys that only one kind has and by extents that differ; what fits none is an error, not a guess.</summary>
public static class SingleFileKinds
{
    internal const string UNet = "model.diffusion_model.", FirstStage = "first_stage_model.";

    internal const string Sd1Text = "cond_stage_model.transformer.", Sd2Text = "cond_stage_model.model.";

    internal const string SdxlFirst = "conditioner.embedders.0.transformer.", SdxlSecond = "conditioner.embedders.1.model.", RefinerText = "conditioner.embedders.0.model.";

    private const string Mark = "transformer.resblocks.9.mlp.c_proj.bias", Input = UNet + "input_blocks.0.0.weight";
    private const string Context = UNet + "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight";
    private const int InpaintChannels = 9, EditChannels = 8, LatentChannels = 4, Sd1Context = 768, Sd2Context = 1024;

    /// <exception cref="ModelFileException">The keys are those of no kind that is known here.</exception>
    public static SingleFileKind Detect(Checkpoint file)
    {
        bool refiner = Has(file, RefinerText + Mark) || HasPrefix(file, RefinerText);
        bool xl = Has(file, SdxlSecond + Mark) || HasPrefix(file, SdxlSecond) || HasPrefix(file, SdxlFirst);
        if (!Has(file, Input))
        {
            if (Has(file, "control_model.time_embed.0.weight") || Has(file, "controlnet_cond_embedding.conv_in.weight")) return SingleFileKind.ControlNet;
            if (AnyPrefix(file, "joint_blocks.0.context_block.adaLN_modulation.1.bias")) return SingleFileKind.Sd3;
            if (AnyPrefix(file, "double_blocks.0.img_attn.norm.key_norm.scale")) return SingleFileKind.Flux;
            throw new ModelFileException(file.Path, null, $"is no single-file model that is known here: it has no {Input}; it has {string.Join(", ", file.Names.Take(4))}");
        }

        long channels = Extent(file, Input, 1), context = Extent(file, Context, 1);
        if (refiner) return channels == LatentChannels ? SingleFileKind.SdxlRefiner : throw Channels(file, channels);
        var kind = xl ? SingleFileKind.Sdxl
            : context == Sd2Context || HasPrefix(file, Sd2Text) ? SingleFileKind.Sd2
            : context == Sd1Context || HasPrefix(file, Sd1Text) ? SingleFileKind.Sd1
            : throw new ModelFileException(file.Path, null, $"is a U-Net of an unknown family: its text width is {(context < 0 ? "not where Stable Diffusion 1 and 2 have it" : context)} and it brings no text encoder; expected {Sd1Context}, {Sd2Context} or SDXL's conditioner");
        return (channels, kind) switch
        {
            (LatentChannels, _) => kind,
            (InpaintChannels, SingleFileKind.Sd1) => SingleFileKind.Sd1Inpaint,
            (InpaintChannels, SingleFileKind.Sd2) => SingleFileKind.Sd2Inpaint,
            (InpaintChannels, SingleFileKind.Sdxl) => SingleFileKind.SdxlInpaint,
            (EditChannels, SingleFileKind.Sd1) => SingleFileKind.InstructPix2Pix,
            _ => throw Channels(file, channels),
        };
    }

    private static ModelFileException Channels(Checkpoint file, long channels) =>
        new(file.Path, Input, $"expected {LatentChannels} input channels, {InpaintChannels} for inpainting or {EditChannels} for InstructPix2Pix, found {channels}");

    private static bool Has(Checkpoint file, string name) => file.TryGet(name, out _);

    internal static bool HasPrefix(Checkpoint file, string prefix) => file.Names.Any(n => n.StartsWith(prefix, StringComparison.Ordinal));

    // These files come with and without the prefix of a whole checkpoint.
    private static bool AnyPrefix(Checkpoint file, string name) => Has(file, name) || Has(file, UNet + name);

    private static long Extent(Checkpoint file, string name, int axis) => file.TryGet(name, out var e) && e.Dims.Length > axis ? e.Dims[axis] : -1;
}
