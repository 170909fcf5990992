using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>Names of the authors' first stage as diffusers has them. The authors number the decoder's levels finest first, diffusers in the order of use.</summary>
internal sealed class AutoencoderKeys
{
    private const string Prefix = SingleFileKinds.FirstStage;

    private static readonly (string From, string To)[] Parts =
    [
        ("norm_out.", "conv_norm_out."), ("mid.block_1.", "mid_block.resnets.0."), ("mid.block_2.", "mid_block.resnets.1."),
        ("mid.attn_1.norm.", "mid_block.attentions.0.group_norm."), ("mid.attn_1.q.", "mid_block.attentions.0.to_q."), ("mid.attn_1.k.", "mid_block.attentions.0.to_k."),
        ("mid.attn_1.v.", "mid_block.attentions.0.to_v."), ("mid.attn_1.proj_out.", "mid_block.attentions.0.to_out.0."),
        ("conv_in.", "conv_in."), ("conv_out.", "conv_out."),
    ];

    private readonly Checkpoint file;

    public AutoencoderKeys(Checkpoint file)
    {
        this.file = file;
        while (Has($"encoder.down.{Levels}.block.0.conv1.weight")) Levels++;
        while (Has($"encoder.down.0.block.{Layers}.conv1.weight")) Layers++;
        if (Levels == 0) throw new ModelFileException(file.Path, Prefix + "encoder.down.0.block.0.conv1.weight", "is missing; expected the first residual block of the first stage");
    }

    public int Levels { get; }

    /// <summary>Residual blocks of a level of the encoder.</summary>
    public int Layers { get; }

    public IEnumerable<TensorView> Views()
    {
        foreach (string name in file.Names)
        {
            if (!name.StartsWith(Prefix, StringComparison.Ordinal)) continue;
            string key = name[Prefix.Length..];

            // Left over from training: the discriminator and perceptual loss, running averages.
            if (key.StartsWith("loss.", StringComparison.Ordinal) || key.StartsWith("model_ema.", StringComparison.Ordinal)) continue;
            string mapped = Map(key) ?? throw new ModelFileException(file.Path, name, "is not a name of the authors' first stage");
            yield return new TensorView(mapped, name, Matrix: mapped.Contains(".attentions.", StringComparison.Ordinal));
        }
    }

    public TensorEntry Get(string name) => file.TryGet(Prefix + name, out var e) ? e : throw new ModelFileException(file.Path, Prefix + name, "is missing");

    public bool Has(string name) => file.TryGet(Prefix + name, out _);

    private string? Map(string name)
    {
        if (name.StartsWith("quant_conv.", StringComparison.Ordinal) || name.StartsWith("post_quant_conv.", StringComparison.Ordinal)) return name;
        int dot = name.IndexOf('.', StringComparison.Ordinal);
        string half = dot < 0 ? "" : name[..dot];
        if (half is not ("encoder" or "decoder")) return null;
        string rest = name[(dot + 1)..];
        foreach (var (from, to) in Parts)
            if (rest.StartsWith(from, StringComparison.Ordinal)) return $"{half}.{to}{rest[from.Length..]}";

        // down.L.block.B.rest, down.L.downsample.conv.rest; up alike
        string[] parts = rest.Split('.', 5);
        if (parts.Length < 4 || parts[0] != (half == "encoder" ? "down" : "up") || !Number(parts[1], out int level)) return null;
        string place = half == "encoder" ? $"encoder.down_blocks.{level}." : $"decoder.up_blocks.{Levels - 1 - level}.";
        return (parts[2], parts[3]) switch
        {
            ("downsample", "conv") when parts.Length == 5 => $"{place}downsamplers.0.conv.{parts[4]}",
            ("upsample", "conv") when parts.Length == 5 => $"{place}upsamplers.0.conv.{parts[4]}",
            ("block", _) when parts.Length == 5 && Number(parts[3], out int block) => $"{place}resnets.{block}.{parts[4].Replace("nin_shortcut.", "conv_shortcut.", StringComparison.Ordinal)}",
            _ => null,
        };
    }

    private static bool Number(string text, out int n) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out n);
}
