using System.Globalization;

namespace DiffusionCore.Weights;

/// <summary>
/// How LoRA files call modules. kohya's files join the path with underscores (lora_unet_down_blocks_0_..., with diffusers' names or the authors'
/// input_blocks_1_1_...), diffusers' keep the dots (unet.down_blocks.0....), older ones put the layer behind a processor. Here every name becomes
/// the component and the path joined with underscores.
/// </summary>
internal static class LoraNames
{
    /// <summary>The component of modules that name none: the denoiser, whatever it is.</summary>
    public const string Denoiser = "unet";

    // The longest first where one begins like another.
    private static readonly (string Prefix, string Component)[] Prefixes =
    [
        ("lora_unet_", Denoiser), ("lora_transformer_", Denoiser), ("lora_te1_", "text_encoder"), ("lora_te2_", "text_encoder_2"), ("lora_te3_", "text_encoder_3"), ("lora_te_", "text_encoder"),
        ("unet.", Denoiser), ("transformer.", Denoiser), ("text_encoder_2.", "text_encoder_2"), ("text_encoder_3.", "text_encoder_3"), ("text_encoder.", "text_encoder"),
        ("base_model.model.", Denoiser),
    ];

    private static readonly (string Suffix, LoraPart Part)[] Suffixes =
    [
        (".lora_down.weight", LoraPart.Down), (".lora_up.weight", LoraPart.Up), (".lora.down.weight", LoraPart.Down), (".lora.up.weight", LoraPart.Up),
        (".lora_A.weight", LoraPart.Down), (".lora_B.weight", LoraPart.Up), (".lora_A.default.weight", LoraPart.Down), (".lora_B.default.weight", LoraPart.Up),
        ("_lora.down.weight", LoraPart.Down), ("_lora.up.weight", LoraPart.Up), (".alpha", LoraPart.Alpha),
    ];

    /// <summary>Whether a model's component is the one that a LoRA file calls so. The denoiser has several names.</summary>
    public static bool SameComponent(string ofModel, string ofFile) => ofModel == ofFile || (ofFile == Denoiser && (ofModel is "transformer" or "diffusion_model"));

    /// <summary>Takes a key apart; null where it is no part of a LoRA.</summary>
    public static (string Component, string Module, LoraPart Part)? Parse(string key)
    {
        foreach (var (suffix, part) in Suffixes)
        {
            if (!key.EndsWith(suffix, StringComparison.Ordinal)) continue;
            string path = key[..^suffix.Length], component = Denoiser;
            foreach (var (prefix, name) in Prefixes)
            {
                if (!path.StartsWith(prefix, StringComparison.Ordinal)) continue;
                (path, component) = (path[prefix.Length..], name);
                break;
            }

            path = path.Replace(".processor.", ".", StringComparison.Ordinal);
            if (suffix[0] == '_' && path.EndsWith("to_out", StringComparison.Ordinal)) path += ".0";
            return (component, path.Replace('.', '_'), part);
        }

        return null;
    }

    /// <summary>A module of the authors' U-Net under diffusers' name; null where it is not one. Two residual blocks per level, as in every model with such files.</summary>
    public static string? FromAuthors(string module)
    {
        const int perLevel = 3;
        if (Take(module, "input_blocks_", out int i, out string rest))
        {
            if (i == 0) return rest == "0" ? "conv_in" : null;
            int level = (i - 1) / perLevel, at = (i - 1) % perLevel;
            if (rest == "0_op") return $"down_blocks_{level}_downsamplers_0_conv";
            return Block(rest) is { } block ? $"down_blocks_{level}_{block.Kind}_{at}_{block.Path}" : null;
        }

        if (Take(module, "output_blocks_", out i, out rest))
        {
            int level = i / perLevel;
            if (rest is "1_conv" or "2_conv") return $"up_blocks_{level}_upsamplers_0_conv";
            return Block(rest) is { } block ? $"up_blocks_{level}_{block.Kind}_{i % perLevel}_{block.Path}" : null;
        }

        if (Take(module, "middle_block_", out i, out rest))
        {
            if (i == 1) return $"mid_block_attentions_0_{rest}";
            return i is 0 or 2 && Layer(rest) is { } layer ? $"mid_block_resnets_{i / 2}_{layer}" : null;
        }

        return module switch
        {
            "time_embed_0" => "time_embedding_linear_1",
            "time_embed_2" => "time_embedding_linear_2",
            "label_emb_0_0" => "add_embedding_linear_1",
            "label_emb_0_2" => "add_embedding_linear_2",
            "out_2" => "conv_out",
            _ => null,
        };
    }

    private static (string Kind, string Path)? Block(string rest)
    {
        if (rest.StartsWith("0_", StringComparison.Ordinal)) return Layer(rest[2..]) is { } layer ? ("resnets", layer) : null;
        return rest.StartsWith("1_", StringComparison.Ordinal) ? ("attentions", rest[2..]) : null;
    }

    private static string? Layer(string name) => name switch
    {
        "in_layers_2" => "conv1",
        "emb_layers_1" => "time_emb_proj",
        "out_layers_3" => "conv2",
        "skip_connection" => "conv_shortcut",
        _ => null,
    };

    // PREFIX, a number, and what follows the underscore after it.
    private static bool Take(string name, string prefix, out int number, out string rest)
    {
        (number, rest) = (0, "");
        if (!name.StartsWith(prefix, StringComparison.Ordinal)) return false;
        int end = name.IndexOf('_', prefix.Length);
        if (end < 0 || !int.TryParse(name.AsSpan(prefix.Length, end - prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out number)) return false;
        rest = name[(end + 1)..];
        return true;
    }
}

/// <summary>What a tensor of a LoRA file is.</summary>
internal enum LoraPart
{
    Down,
    Up,
    Alpha,
}
