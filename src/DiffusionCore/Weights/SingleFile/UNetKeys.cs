using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>
/// Names of the authors' U-Net (latent-diffusion) as diffusers has them. The authors number the blocks of the way down and of the way up
/// through all levels; diffusers numbers levels, and inside them residual blocks, attentions and resampling apart.
/// </summary>
internal sealed class UNetKeys
{
    private static readonly (string From, string To)[] Ends =
    [
        ("time_embed.0.", "time_embedding.linear_1."), ("time_embed.2.", "time_embedding.linear_2."),
        ("label_emb.0.0.", "add_embedding.linear_1."), ("label_emb.0.2.", "add_embedding.linear_2."),
        ("input_blocks.0.0.", "conv_in."), ("out.0.", "conv_norm_out."), ("out.2.", "conv_out."),
        ("middle_block.0.", "mid_block.resnets.0."), ("middle_block.1.", "mid_block.attentions.0."), ("middle_block.2.", "mid_block.resnets.1."),
    ];

    private static readonly (string From, string To)[] Resnet =
    [
        ("in_layers.0.", "norm1."), ("in_layers.2.", "conv1."), ("out_layers.0.", "norm2."), ("out_layers.3.", "conv2."),
        ("emb_layers.1.", "time_emb_proj."), ("skip_connection.", "conv_shortcut."),
    ];

    private readonly Checkpoint file;

    public UNetKeys(Checkpoint file)
    {
        this.file = file;

        // A level ends with the block that only samples down; a network of one level has none.
        int blocks = 1;
        while (Has($"input_blocks.{blocks}.0.in_layers.0.weight")) blocks++;
        Layers = blocks - 1;
        if (Layers == 0) throw new ModelFileException(file.Path, SingleFileKinds.UNet + "input_blocks.1.0.in_layers.0.weight", "is missing; expected the first residual block");
        while (Has($"input_blocks.{(Levels * (Layers + 1)) + 1}.0.in_layers.0.weight")) Levels++;
    }

    /// <summary>Residual blocks of a level on the way down.</summary>
    public int Layers { get; }

    public int Levels { get; }

    /// <summary>The authors' name of the last residual block of a level.</summary>
    public string LastOf(int level) => $"input_blocks.{(level * (Layers + 1)) + Layers}.";

    public IEnumerable<TensorView> Views()
    {
        foreach (string name in file.Names)
            if (name.StartsWith(SingleFileKinds.UNet, StringComparison.Ordinal))
                yield return new TensorView(Map(name[SingleFileKinds.UNet.Length..]) ?? throw new ModelFileException(file.Path, name, "is not a name of the authors' U-Net"), name);
    }

    public TensorEntry Get(string name) => file.TryGet(SingleFileKinds.UNet + name, out var e) ? e : throw new ModelFileException(file.Path, SingleFileKinds.UNet + name, "is missing");

    public bool Has(string name) => file.TryGet(SingleFileKinds.UNet + name, out _);

    private string? Map(string name)
    {
        foreach (var (from, to) in Ends)
            if (name.StartsWith(from, StringComparison.Ordinal)) return to + (from.StartsWith("middle", StringComparison.Ordinal) ? Inner(name[from.Length..]) : name[from.Length..]);

        // input_blocks.I.J.rest and output_blocks.I.J.rest
        string[] parts = name.Split('.', 4);
        if (parts.Length < 4 || parts[0] is not ("input_blocks" or "output_blocks") || !Number(parts[1], out int i) || !Number(parts[2], out int j)) return null;
        string rest = parts[3];
        bool down = parts[0] == "input_blocks";
        var (level, layer) = down ? Math.DivRem(i - 1, Layers + 1) : Math.DivRem(i, Layers + 1);
        string place = down ? $"down_blocks.{level}." : $"up_blocks.{level}.";
        if (down && rest.StartsWith("op.", StringComparison.Ordinal)) return $"{place}downsamplers.0.conv.{rest[3..]}";
        if (!down && j > 0 && rest.StartsWith("conv.", StringComparison.Ordinal)) return $"{place}upsamplers.0.{rest}";
        return j switch
        {
            0 => $"{place}resnets.{layer}.{Inner(rest)}",
            1 => $"{place}attentions.{layer}.{rest}",
            _ => null,
        };
    }

    // Inside a residual block; a transformer's names are the same in both.
    private static string Inner(string rest)
    {
        foreach (var (from, to) in Resnet)
            if (rest.StartsWith(from, StringComparison.Ordinal)) return to + rest[from.Length..];
        return rest;
    }

    private static bool Number(string text, out int n) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out n);
}
