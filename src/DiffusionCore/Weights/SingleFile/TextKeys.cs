using System.Globalization;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>Names of a single file's text encoders as transformers has them.</summary>
internal static class TextKeys
{
    private static readonly (string From, string To)[] Block =
    [
        ("ln_1.", "layer_norm1."), ("ln_2.", "layer_norm2."), ("mlp.c_fc.", "mlp.fc1."), ("mlp.c_proj.", "mlp.fc2."), ("attn.out_proj.", "self_attn.out_proj."),
    ];

    /// <summary>CLIP ViT-L as SD 1 and SDXL store it: transformers' names behind a prefix.</summary>
    public static IEnumerable<TensorView> Clip(Checkpoint file, string prefix)
    {
        foreach (string name in file.Names)
        {
            if (!name.StartsWith(prefix, StringComparison.Ordinal)) continue;
            string key = name[prefix.Length..];
            if (key.EndsWith("position_ids", StringComparison.Ordinal)) continue;        // 0, 1, 2, ...

            // Some writers leave the model's own name out.
            if (!key.StartsWith("text_model.", StringComparison.Ordinal) && !key.StartsWith("text_projection.", StringComparison.Ordinal)) key = "text_model." + key;
            yield return new TensorView(key, name);
        }
    }

    /// <summary>OpenCLIP: queries, keys and values in one matrix, the projection the other way round.</summary>
    /// <param name="layers">Of those in the file, how many are used: SD 2 reads the last but one and was converted without the last.</param>
    /// <param name="projected">Whether the pooled text is projected.</param>
    public static IEnumerable<TensorView> OpenClip(Checkpoint file, string prefix, int layers, bool projected)
    {
        foreach (string name in file.Names)
        {
            if (!name.StartsWith(prefix, StringComparison.Ordinal)) continue;
            foreach (var view in OpenClip(file, name, name[prefix.Length..], layers, projected)) yield return view;
        }
    }

    /// <summary>Layers that a file's OpenCLIP has.</summary>
    public static int LayersOf(Checkpoint file, string prefix)
    {
        int layers = 0;
        while (file.TryGet($"{prefix}transformer.resblocks.{layers}.ln_1.weight", out _)) layers++;
        return layers > 0 ? layers : throw new ModelFileException(file.Path, $"{prefix}transformer.resblocks.0.ln_1.weight", "is missing; expected the first block of the text encoder");
    }

    private static IEnumerable<TensorView> OpenClip(Checkpoint file, string name, string key, int layers, bool projected)
    {
        const string Blocks = "transformer.resblocks.";
        switch (key)
        {
            // Trained beside the encoder and not part of it.
            case "logit_scale" or "attn_mask":
                yield break;
            case "positional_embedding":
                yield return new TensorView("text_model.embeddings.position_embedding.weight", name);
                yield break;
            case "token_embedding.weight":
                yield return new TensorView("text_model.embeddings.token_embedding.weight", name);
                yield break;
            case "text_projection":
                if (projected) yield return new TensorView("text_projection.weight", name, Transposed: true);
                yield break;
            case "text_projection.weight":
                if (projected) yield return new TensorView("text_projection.weight", name);
                yield break;
            case "ln_final.weight" or "ln_final.bias":
                yield return new TensorView("text_model.final_layer_norm" + key["ln_final".Length..], name);
                yield break;
        }

        string[] parts = key.StartsWith(Blocks, StringComparison.Ordinal) ? key[Blocks.Length..].Split('.', 2) : [];
        if (parts.Length < 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int layer)) throw new ModelFileException(file.Path, name, "is not a name of OpenCLIP's text encoder");
        if (layer >= layers) yield break;
        string place = $"text_model.encoder.layers.{layer}.", rest = parts[1];
        if (rest is "attn.in_proj_weight" or "attn.in_proj_bias")
        {
            string end = rest.EndsWith("weight", StringComparison.Ordinal) ? "weight" : "bias", letters = "qkv";
            for (int part = 0; part < letters.Length; part++) yield return new TensorView($"{place}self_attn.{letters[part]}_proj.{end}", name, part, letters.Length);
            yield break;
        }

        foreach (var (from, to) in Block)
        {
            if (!rest.StartsWith(from, StringComparison.Ordinal)) continue;
            yield return new TensorView(place + to + rest[from.Length..], name);
            yield break;
        }

        throw new ModelFileException(file.Path, name, "is not a name of OpenCLIP's text encoder");
    }
}
