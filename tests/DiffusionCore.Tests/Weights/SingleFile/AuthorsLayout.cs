using DiffusionCore.Weights;

namespace DiffusionCore.Tests.Weights.SingleFile;

/// <summary>
/// The authors' layout made from a diffusers folder: the way back of what the engine reads, written from the original networks' module
/// lists rather than from the reader's tables, so that an error in one does not hide in the other.
/// </summary>
internal static class AuthorsLayout
{
    /// <param name="levels">Of the U-Net and of the first stage.</param>
    /// <param name="layers">Residual blocks of a level.</param>
    public static List<TensorData> UNet(Checkpoint unet, int levels, int layers)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["conv_in"] = "input_blocks.0.0", ["time_embedding.linear_1"] = "time_embed.0", ["time_embedding.linear_2"] = "time_embed.2",
            ["add_embedding.linear_1"] = "label_emb.0.0", ["add_embedding.linear_2"] = "label_emb.0.2", ["conv_norm_out"] = "out.0", ["conv_out"] = "out.2",
            ["mid_block.resnets.0"] = "middle_block.0", ["mid_block.attentions.0"] = "middle_block.1", ["mid_block.resnets.1"] = "middle_block.2",
        };
        int block = 1;
        for (int i = 0; i < levels; i++)
        {
            for (int j = 0; j < layers; j++, block++)
            {
                names[$"down_blocks.{i}.resnets.{j}"] = $"input_blocks.{block}.0";
                names[$"down_blocks.{i}.attentions.{j}"] = $"input_blocks.{block}.1";
            }

            if (i < levels - 1) names[$"down_blocks.{i}.downsamplers.0.conv"] = $"input_blocks.{block++}.0.op";
        }

        block = 0;
        for (int i = 0; i < levels; i++)
        {
            for (int j = 0; j <= layers; j++, block++)
            {
                bool attends = unet.Names.Any(n => n.StartsWith($"up_blocks.{i}.attentions.", StringComparison.Ordinal));
                names[$"up_blocks.{i}.resnets.{j}"] = $"output_blocks.{block}.0";
                names[$"up_blocks.{i}.attentions.{j}"] = $"output_blocks.{block}.1";
                if (j == layers && i < levels - 1) names[$"up_blocks.{i}.upsamplers.0.conv"] = $"output_blocks.{block}.{(attends ? 2 : 1)}.conv";
            }
        }

        return Rename(unet, "model.diffusion_model.", n => Module(names, n, r => r switch
        {
            "norm1" => "in_layers.0",
            "conv1" => "in_layers.2",
            "time_emb_proj" => "emb_layers.1",
            "norm2" => "out_layers.0",
            "conv2" => "out_layers.3",
            "conv_shortcut" => "skip_connection",
            _ => r,
        }));
    }

    public static List<TensorData> FirstStage(Checkpoint vae, int levels)
    {
        var tensors = Rename(vae, "first_stage_model.", name =>
        {
            string n = name.Replace("conv_norm_out", "norm_out", StringComparison.Ordinal).Replace("conv_shortcut", "nin_shortcut", StringComparison.Ordinal)
                .Replace("mid_block.resnets.0", "mid.block_1", StringComparison.Ordinal).Replace("mid_block.resnets.1", "mid.block_2", StringComparison.Ordinal)
                .Replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm", StringComparison.Ordinal).Replace("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out", StringComparison.Ordinal)
                .Replace("mid_block.attentions.0.to_", "mid.attn_1.", StringComparison.Ordinal).Replace("resnets.", "block.", StringComparison.Ordinal)
                .Replace("downsamplers.0", "downsample", StringComparison.Ordinal).Replace("upsamplers.0", "upsample", StringComparison.Ordinal);
            for (int i = 0; i < levels; i++)
                n = n.Replace($"down_blocks.{i}.", $"down.{i}.", StringComparison.Ordinal).Replace($"up_blocks.{i}.", $"up.{levels - 1 - i}.", StringComparison.Ordinal);
            return n;
        });

        // There the attention's products are 1x1 kernels.
        return [.. tensors.Select(t => t.Name.Contains(".attn_1.", StringComparison.Ordinal) && t.Dims.Length == 2 ? t with { Dims = [.. t.Dims, 1, 1] } : t)];
    }

    public static List<TensorData> Clip(Checkpoint text, string prefix) => Rename(text, prefix, n => n);

    /// <param name="extraLayer">Adds a block after the last, as SD 2's file has one that is not used.</param>
    public static List<TensorData> OpenClip(Checkpoint text, string prefix, bool extraLayer)
    {
        int layers = text.Names.Count(n => n.EndsWith(".layer_norm1.weight", StringComparison.Ordinal));
        var tensors = Rename(text, "", n => n).ToDictionary(t => t.Name, StringComparer.Ordinal);
        var result = new List<TensorData>();
        void Add(string name, TensorData tensor) => result.Add(tensor with { Name = prefix + name });
        Add("positional_embedding", tensors["text_model.embeddings.position_embedding.weight"]);
        Add("token_embedding.weight", tensors["text_model.embeddings.token_embedding.weight"]);
        Add("ln_final.weight", tensors["text_model.final_layer_norm.weight"]);
        Add("ln_final.bias", tensors["text_model.final_layer_norm.bias"]);
        result.Add(new TensorData(prefix + "logit_scale", StorageType.F32, [], new byte[4]));
        if (tensors.TryGetValue("text_projection.weight", out var projection)) Add("text_projection", Transposed(projection));
        for (int i = 0; i < layers + (extraLayer ? 1 : 0); i++)
        {
            string from = $"text_model.encoder.layers.{Math.Min(i, layers - 1)}.", to = $"transformer.resblocks.{i}.";
            foreach (string end in new[] { "weight", "bias" })
            {
                Add($"{to}ln_1.{end}", tensors[$"{from}layer_norm1.{end}"]);
                Add($"{to}ln_2.{end}", tensors[$"{from}layer_norm2.{end}"]);
                Add($"{to}mlp.c_fc.{end}", tensors[$"{from}mlp.fc1.{end}"]);
                Add($"{to}mlp.c_proj.{end}", tensors[$"{from}mlp.fc2.{end}"]);
                Add($"{to}attn.out_proj.{end}", tensors[$"{from}self_attn.out_proj.{end}"]);
                TensorData[] three = [tensors[$"{from}self_attn.q_proj.{end}"], tensors[$"{from}self_attn.k_proj.{end}"], tensors[$"{from}self_attn.v_proj.{end}"]];
                Add($"{to}attn.in_proj_{end}", three[0] with { Dims = [3 * three[0].Dims[0], .. three[0].Dims[1..]], Data = three.SelectMany(t => t.Data.ToArray()).ToArray() });
            }
        }

        return result;
    }

    private static TensorData Transposed(TensorData t)
    {
        int rows = (int)t.Dims[0], columns = (int)t.Dims[1], size = t.Type.Bits() / 8;
        var turned = new byte[t.Data.Length];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++)
                for (int b = 0; b < size; b++) turned[(((c * rows) + r) * size) + b] = t.Data.Span[(((r * columns) + c) * size) + b];
        return t with { Dims = [columns, rows], Data = turned };
    }

    private static string Module(Dictionary<string, string> names, string name, Func<string, string> inner)
    {
        string module = names.Keys.Where(k => name.StartsWith(k + ".", StringComparison.Ordinal)).MaxBy(k => k.Length) ?? throw new InvalidOperationException($"no module for {name}");
        string rest = name[(module.Length + 1)..];
        int dot = rest.IndexOf('.', StringComparison.Ordinal);
        if (module.Contains("resnets", StringComparison.Ordinal)) rest = inner(rest[..dot]) + rest[dot..];
        return $"{names[module]}.{rest}";
    }

    private static List<TensorData> Rename(Checkpoint source, string prefix, Func<string, string> map)
    {
        var tensors = new List<TensorData>();
        foreach (string name in source.Names)
        {
            source.TryGet(name, out var e);
            var bytes = new byte[e.Bytes];
            source.Read(name, bytes);
            tensors.Add(new TensorData(prefix + map(name), e.Type, e.Dims, bytes));
        }

        return tensors;
    }
}
