using System.Text.Json;
using DiffusionCore.Json;
using DiffusionCore.Runtime;

namespace DiffusionCore.Weights.SingleFile;

/// <summary>Configurations that a single file implies: sizes from the shapes of its tensors, what shapes cannot say from its kind.</summary>
internal static class SingleFileConfigs
{
    private const int Heads1 = 8, HeadWidth = 64, AddedTimeChannels = 256, LatentFactor = 8;
    private const double Sd1Scaling = 0.18215, SdxlScaling = 0.13025;

    public static ConfigFile UNet(string path, SingleFileKind kind, UNetKeys keys) => Object(path, w =>
    {
        var widths = new int[keys.Levels];
        var depths = new int[keys.Levels];
        for (int i = 0; i < keys.Levels; i++)
        {
            widths[i] = Extent(keys.Get(keys.LastOf(i) + "0.in_layers.2.weight"), 0);
            depths[i] = Depth(keys, keys.LastOf(i) + "1.");
        }

        // The middle is as deep as the coarsest level; where that has no attention, the depth there is the middle's alone.
        int middle = Depth(keys, "middle_block.1."), last = keys.Levels - 1;
        if (middle == 0) throw new ModelFileException(path, SingleFileKinds.UNet + "middle_block.1", "has no transformer; expected the U-Net of Stable Diffusion");
        if (depths[last] > 0 && depths[last] != middle) throw new ModelFileException(path, SingleFileKinds.UNet + "middle_block.1", $"expected {depths[last]} transformer blocks as in the level before it, found {middle}");
        var attends = depths.Select(d => d > 0).ToArray();
        bool first = IsSd1(kind), linear = keys.Get("middle_block.1.proj_in.weight").Dims.Length == 2;
        w.WriteString("_class_name", "UNet2DConditionModel");
        w.WriteNumber("sample_size", SampleSize(kind) / LatentFactor);
        w.WriteNumber("in_channels", Extent(keys.Get("input_blocks.0.0.weight"), 1));
        w.WriteNumber("out_channels", Extent(keys.Get("out.2.weight"), 0));
        w.WriteStrings("down_block_types", attends.Select(a => a ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        w.WriteString("mid_block_type", "UNetMidBlock2DCrossAttn");
        w.WriteStrings("up_block_types", attends.Reverse().Select(a => a ? "CrossAttnUpBlock2D" : "UpBlock2D"));
        w.WriteNumbers("block_out_channels", widths);
        w.WriteNumber("layers_per_block", keys.Layers);
        w.WriteNumbers("transformer_layers_per_block", [.. depths.Select((d, i) => d > 0 ? d : i == last ? middle : 1)]);
        w.WriteNumber("cross_attention_dim", Extent(keys.Get("middle_block.1.transformer_blocks.0.attn2.to_k.weight"), 1));
        w.WriteNumbers("attention_head_dim", [.. widths.Select(c => first ? Heads1 : HeadsOf(path, c))]);
        w.WriteBoolean("use_linear_projection", linear);
        w.WriteNumber("norm_num_groups", 32);
        w.WriteBoolean("flip_sin_to_cos", true);
        w.WriteNumber("freq_shift", 0);
        if (!keys.Has("label_emb.0.0.weight")) return;
        if (!IsXl(kind)) throw new ModelFileException(path, SingleFileKinds.UNet + "label_emb", "is not supported with Stable Diffusion 1 and 2; only SDXL's pooled text is");
        w.WriteString("addition_embed_type", "text_time");
        w.WriteNumber("addition_time_embed_dim", AddedTimeChannels);
        w.WriteNumber("projection_class_embeddings_input_dim", Extent(keys.Get("label_emb.0.0.weight"), 1));
    });

    public static ConfigFile Autoencoder(string path, SingleFileKind kind, AutoencoderKeys keys) => Object(path, w =>
    {
        int latent = Extent(keys.Get("decoder.conv_in.weight"), 1);
        w.WriteString("_class_name", "AutoencoderKL");
        w.WriteNumber("in_channels", Extent(keys.Get("encoder.conv_in.weight"), 1));
        w.WriteNumber("out_channels", Extent(keys.Get("decoder.conv_out.weight"), 0));
        w.WriteStrings("down_block_types", Enumerable.Repeat("DownEncoderBlock2D", keys.Levels));
        w.WriteStrings("up_block_types", Enumerable.Repeat("UpDecoderBlock2D", keys.Levels));
        w.WriteNumbers("block_out_channels", [.. Enumerable.Range(0, keys.Levels).Select(i => Extent(keys.Get($"encoder.down.{i}.block.0.conv1.weight"), 0))]);
        w.WriteNumber("layers_per_block", keys.Layers);
        w.WriteString("act_fn", "silu");
        w.WriteNumber("latent_channels", latent);
        w.WriteNumber("norm_num_groups", 32);
        w.WriteNumber("sample_size", SampleSize(kind));
        w.WriteNumber("scaling_factor", IsXl(kind) ? SdxlScaling : Sd1Scaling);
    });

    /// <summary>An encoder that is seen through a view, so under transformers' names.</summary>
    public static ConfigFile Text(string path, Checkpoint view, bool openClip, bool projected) => Object(path, w =>
    {
        int width = Extent(Get(view, "text_model.embeddings.token_embedding.weight"), 1), vocabulary = Extent(Get(view, "text_model.embeddings.token_embedding.weight"), 0), layers = 0;
        while (view.TryGet($"text_model.encoder.layers.{layers}.layer_norm1.weight", out _)) layers++;
        string name = projected ? "CLIPTextModelWithProjection" : "CLIPTextModel";
        w.WriteString("_class_name", name);
        w.WriteStrings("architectures", [name]);
        w.WriteString("model_type", "clip_text_model");
        w.WriteNumber("vocab_size", vocabulary);
        w.WriteNumber("hidden_size", width);
        w.WriteNumber("intermediate_size", Extent(Get(view, "text_model.encoder.layers.0.mlp.fc1.weight"), 0));
        w.WriteNumber("num_hidden_layers", layers);
        w.WriteNumber("num_attention_heads", HeadsOf(path, width));
        w.WriteNumber("max_position_embeddings", Extent(Get(view, "text_model.embeddings.position_embedding.weight"), 0));
        w.WriteString("hidden_act", openClip ? "gelu" : "quick_gelu");
        w.WriteNumber("layer_norm_eps", 1e-5);
        w.WriteNumber("projection_dim", view.TryGet("text_projection.weight", out var projection) ? Extent(projection, 0) : width);
        w.WriteNumber("bos_token_id", vocabulary - 2);
        w.WriteNumber("eos_token_id", vocabulary - 1);
        w.WriteNumber("pad_token_id", openClip ? 0 : vocabulary - 1);
    });

    public static ConfigFile Scheduler(string path, SingleFileKind kind, string prediction, bool zeroSignal) => Object(path, w =>
    {
        // What each family was published with.
        bool xl = IsXl(kind);
        w.WriteString("_class_name", xl ? "EulerDiscreteScheduler" : prediction == "epsilon" ? "PNDMScheduler" : "DDIMScheduler");
        w.WriteNumber("num_train_timesteps", 1000);
        w.WriteNumber("beta_start", 0.00085);
        w.WriteNumber("beta_end", 0.012);
        w.WriteString("beta_schedule", "scaled_linear");
        w.WriteString("prediction_type", prediction);
        w.WriteString("timestep_spacing", zeroSignal ? "trailing" : "leading");
        w.WriteNumber("steps_offset", 1);
        if (zeroSignal) w.WriteBoolean("rescale_betas_zero_snr", true);
        // For whichever sampler takes this configuration: latents are not clipped, the last step ends at the first training step's level.
        w.WriteBoolean("clip_sample", false);
        w.WriteBoolean("set_alpha_to_one", false);
        w.WriteBoolean("skip_prk_steps", true);
    });

    public static bool IsXl(SingleFileKind kind) => kind is SingleFileKind.Sdxl or SingleFileKind.SdxlInpaint or SingleFileKind.SdxlRefiner;

    public static bool IsSd1(SingleFileKind kind) => kind is SingleFileKind.Sd1 or SingleFileKind.Sd1Inpaint or SingleFileKind.InstructPix2Pix;

    private static int SampleSize(SingleFileKind kind) => IsXl(kind) ? 1024 : kind == SingleFileKind.Sd2 ? 768 : 512;

    private static int HeadsOf(string path, int width) =>
        width % HeadWidth == 0 ? width / HeadWidth : throw new ModelFileException(path, null, $"has attention over {width} channels, which are no heads of {HeadWidth}");

    private static int Depth(UNetKeys keys, string place)
    {
        int depth = 0;
        while (keys.Has($"{place}transformer_blocks.{depth}.attn1.to_q.weight")) depth++;
        return depth;
    }

    private static TensorEntry Get(Checkpoint view, string name) => view.TryGet(name, out var e) ? e : throw new ModelFileException(view.Path, name, "is missing");

    private static int Extent(TensorEntry e, int axis) =>
        axis < e.Dims.Length && e.Dims[axis] <= int.MaxValue ? (int)e.Dims[axis] : throw new ArgumentException($"{e} has no axis {axis}", nameof(axis));

    private static ConfigFile Object(string path, Action<Utf8JsonWriter> fields)
    {
        using var stream = new MemoryStream();
        using (var w = new Utf8JsonWriter(stream))
        {
            w.WriteStartObject();
            fields(w);
            w.WriteEndObject();
        }

        return ConfigFile.Parse(path, stream.ToArray());
    }
}
