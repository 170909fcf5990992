namespace DiffusionCore.Synthesis;

/// <summary>The published configurations of latent diffusion (Rombach et al. 2022) and of Frido (Fan et al. 2022), and tiny ones of the same shapes for tests.</summary>
internal static class LatentPresets
{
    private const string Kl8 = """
        {"target": "ldm.models.autoencoder.AutoencoderKL", "params": {"embed_dim": 4, "ddconfig": {"double_z": true, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": []}}}
        """;

    private const string Unconditional = "\"__is_unconditional__\"";

    /// <summary>Names and configurations.</summary>
    public static IEnumerable<(string Name, string Config)> All()
    {
        string celeba = Latent(64, 3, "0.0015", "0.0195", UNet(64, 3, 3, 224, "1, 2, 3, 4", "8, 4, 2", "\"num_head_channels\": 32"), Vq4(), Unconditional, "null", "image");
        foreach (string name in (string[])["ldm-celeba256", "ldm-ffhq256", "ldm-beds256"]) yield return (name, celeba);
        yield return ("ldm-churches256", Latent(32, 4, "0.0015", "0.0155", UNet(32, 4, 4, 192, "1, 2, 2, 4, 4", "1, 2, 4, 8", "\"num_heads\": 8, \"use_scale_shift_norm\": true, \"resblock_updown\": true"), Kl8, Unconditional, "null", "image"));
        yield return ("ldm-cin256", Latent(64, 3, "0.0015", "0.0195", UNet(64, 3, 3, 192, "1, 2, 3, 5", "8, 4, 2", Transformer(512, "\"num_heads\": 1")), Vq4(), Class(1001, 512), "\"crossattn\"", "class_label"));
        yield return ("ldm-text2img256", Latent(64, 3, "0.0015", "0.0195", UNet(64, 3, 3, 192, "1, 2, 3, 5", "8, 4, 2", Transformer(640, "\"num_head_channels\": 32")), Vq4(), Bert(640, 32), "\"crossattn\"", "caption"));
        yield return ("ldm-txt2img-1p4b", Latent(32, 4, "0.00085", "0.012", UNet(32, 4, 4, 320, "1, 2, 4, 4", "4, 2, 1", Transformer(1280, "\"num_heads\": 8")), Kl8, Bert(1280, 32), "\"crossattn\"", "caption", "\"scale_factor\": 0.18215, "));
        yield return ("ldm-inpainting", Latent(64, 3, "0.0015", "0.0205", UNet(64, 7, 3, 256, "1, 2, 3, 4", "8, 4, 2", "\"num_heads\": 8, \"resblock_updown\": true"), Vq4(", \"attn_type\": \"none\""), "\"__is_first_stage__\"", "\"concat\"", "masked_image"));
        yield return ("ldm-sr", Latent(64, 3, "0.0015", "0.0155", UNet(64, 6, 3, 160, "1, 2, 2, 4", "16, 8", "\"num_head_channels\": 32"), Vq4(), "{\"target\": \"torch.nn.Identity\"}", "\"concat\"", "LR_image"));
        yield return ("frido-f16f8", Frido(32, 4, 8192, "1, 1, 2, 2, 4", "1, 1, 2, 4", 32, Bert(640, 32), "caption"));
        yield return ("frido-f16f8-label", Frido(32, 4, 8192, "1, 1, 2, 2, 4", "1, 1, 2, 4", 32, Bert(640, 32, tokenizer: false), "objects", Layout(1024, 30, "false")));
        yield return ("frido-f8f4-layout", Frido(64, 3, 4096, "1, 1, 2, 4", "1, 2, 4", 64, Bert(640, 32, 96, tokenizer: false), "objects_bbox", Layout(1024, 8, "true")));

        string tinyVq = First("VQModelInterface", 3, 3, 32, "1, 2", 32, 1, ", \"attn_type\": \"none\"", 64);
        string tiny = UNet(8, 3, 3, 32, "1, 2", "2", Transformer(24, "\"num_heads\": 1"), 1);
        yield return ("ldm-tiny", Latent(8, 3, "0.0015", "0.0195", tiny, tinyVq, Class(11, 24), "\"crossattn\"", "class_label"));
        yield return ("ldm-tiny-text", Latent(8, 3, "0.0015", "0.0195", tiny, tinyVq, Bert(24, 2, 16, 256), "\"crossattn\"", "caption"));
        yield return ("ldm-tiny-sr", Latent(8, 3, "0.0015", "0.0155", UNet(8, 6, 3, 32, "1, 2", "2", "\"num_heads\": 1", 1), tinyVq, "{\"target\": \"torch.nn.Identity\"}", "\"concat\"", "LR_image"));
        yield return ("ldm-tiny-inpainting", Latent(8, 3, "0.0015", "0.0205", UNet(8, 7, 3, 32, "1, 2", "2", "\"num_heads\": 1, \"resblock_updown\": true", 1), tinyVq, "\"__is_first_stage__\"", "\"concat\"", "masked_image"));
        yield return ("ldm-tiny-uncond", Latent(8, 4, "0.0015", "0.0155", UNet(8, 4, 4, 32, "1, 2", "2", "\"num_heads\": 2, \"use_scale_shift_norm\": true, \"resblock_updown\": true", 1), First("AutoencoderKL", 4, 4, 32, "1, 2", 32, 1, "", 0), Unconditional, "null", "image", "\"scale_factor\": 0.5, "));
        yield return ("frido-tiny", Frido(8, 4, 64, "1, 1, 2", "1, 2", 8, Bert(24, 2, 16, 256), "caption", "", 32, 24, "1, 2", "2", 32, 1, 32));
        yield return ("frido-tiny-layout", Frido(8, 3, 64, "1, 1, 2", "1, 2", 8, Bert(24, 2, 16, 256, false), "objects_bbox", Layout(100, 4, "true"), 32, 24, "1, 2", "2", 32, 1, 32));
    }

    private static string Latent(int size, int channels, string start, string end, string unet, string first, string condition, string key, string stageKey, string more = "") => $$$"""
        {"_class_name": "LatentDiffusion", "params": {"linear_start": {{{start}}}, "linear_end": {{{end}}}, "timesteps": 1000, {{{more}}}"image_size": {{{size}}}, "channels": {{{channels}}},
        "conditioning_key": {{{key}}}, "cond_stage_key": "{{{stageKey}}}", "cond_stage_config": {{{condition}}}, "unet_config": {{{unet}}}, "first_stage_config": {{{first}}} } }
        """;

    private static string Frido(
        int size, int embed, int codes, string encoder, string decoder, int attention, string condition, string key, string layout = "", int width = 192, int context = 640, string mult = "1, 2, 3, 5",
        string attends = "8, 4, 2", int stem = 128, int blocks = 2, int resolution = 256) => $$$"""
        {"_class_name": "FridoDiffusion", "params": {"linear_start": 0.0015, "linear_end": 0.0155, "timesteps": 1000, "image_size": {{{size}}}, "channels": {{{2 * embed}}}, "conditioning_key": "crossattn",
        "cond_stage_key": "{{{key}}}", "cond_stage_config": {{{condition}}},
        "unet_config": {"target": "frido.modules.diffusionmodules.pyunet.PyUNetModel", "params": {"use_split_head": true, "split_embed_dim_list": [{{{embed}}}, {{{embed}}}], "use_SPADE_norm": true, "image_size": {{{size}}},
          "in_channels": {{{2 * embed}}}, "out_channels": {{{2 * embed}}}, "model_channels": {{{width}}}, "attention_resolutions": [{{{attends}}}], "num_res_blocks": {{{blocks}}}, "channel_mult": [{{{mult}}}],
          "num_head_channels": 32, "use_spatial_transformer": true, "transformer_depth": 1, "context_dim": {{{context}}}, "num_stage": 2} },
        "first_stage_config": {"target": "taming.models.msvqgan.VQModelInterface", "params": {"embed_dim": [{{{embed}}}, {{{embed}}}], "n_embed": [{{{codes}}}, {{{codes}}}],
          "edconfig": {"multiscale": 2, "double_z": false, "z_channels": [{{{embed}}}, {{{embed}}}], "resolution": {{{resolution}}}, "in_channels": 3, "out_ch": 3, "ch": {{{stem}}}, "ch_mult": [{{{encoder}}}], "num_res_blocks": {{{blocks}}}, "attn_resolutions": [{{{attention}}}]},
          "ddconfig": {"double_z": false, "z_channels": {{{2 * embed}}}, "resolution": {{{resolution}}}, "in_channels": 3, "out_ch": 3, "ch": {{{stem}}}, "ch_mult": [{{{decoder}}}], "num_res_blocks": {{{blocks}}}, "attn_resolutions": [{{{attention}}}]} } }
        } {{{layout}}} }
        """;

    private static string Layout(int tokens, int objects, string crop) => $", \"layout\": {{\"no_tokens\": {tokens}, \"max_objects_per_image\": {objects}, \"encode_crop\": {crop}}}";

    private static string UNet(int size, int inputs, int outputs, int width, string mult, string attention, string more, int blocks = 2) => $$$"""
        {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": {"image_size": {{{size}}}, "in_channels": {{{inputs}}}, "out_channels": {{{outputs}}}, "model_channels": {{{width}}},
        "attention_resolutions": [{{{attention}}}], "num_res_blocks": {{{blocks}}}, "channel_mult": [{{{mult}}}], {{{more}}} } }
        """;

    private static string Transformer(int context, string heads) => $"\"use_spatial_transformer\": true, \"transformer_depth\": 1, \"context_dim\": {context}, {heads}";

    private static string Vq4(string more = "") => First("VQModelInterface", 3, 3, 128, "1, 2, 4", 256, 2, more, 8192);

    private static string First(string type, int embed, int z, int stem, string mult, int resolution, int blocks, string more, int codes) => $$$"""
        {"target": "ldm.models.autoencoder.{{{type}}}", "params": {"embed_dim": {{{embed}}}, {{{(codes > 0 ? $"\"n_embed\": {codes}, " : "")}}}"ddconfig": {"double_z": {{{(codes > 0 ? "false" : "true")}}}, "z_channels": {{{z}}}, "resolution": {{{resolution}}},
        "in_channels": 3, "out_ch": 3, "ch": {{{stem}}}, "ch_mult": [{{{mult}}}], "num_res_blocks": {{{blocks}}}, "attn_resolutions": []{{{more}}} } } }
        """;

    private static string Class(int classes, int width) => $$$"""
        {"target": "ldm.modules.encoders.modules.ClassEmbedder", "params": {"n_classes": {{{classes}}}, "embed_dim": {{{width}}}, "key": "class_label"} }
        """;

    private static string Bert(int width, int layers, int length = 77, int vocabulary = 30522, bool tokenizer = true) => $$$"""
        {"target": "ldm.modules.encoders.modules.BERTEmbedder", "params": {"n_embed": {{{width}}}, "n_layer": {{{layers}}}, "max_seq_len": {{{length}}}, "vocab_size": {{{vocabulary}}}, "use_tokenizer": {{{(tokenizer ? "true" : "false")}}} } }
        """;
}
